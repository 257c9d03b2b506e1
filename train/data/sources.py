"""Where pictures come from: folders, zip files, ILSVRC's own files, CIFAR-10's binary files, or the generator.

A source is listed once; each item says how one picture is read, so that any process can read any of them alone.
"""

from __future__ import annotations

import functools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from alexnet.class_folders import folder_classes
from alexnet.decoding import decode_picture
from alexnet.errors import InputError, PictureError
from alexnet.picture_files import SUFFIXES, find_pictures
from alexnet.train.data.generator import CLASSES, draw_picture

PARTS = ("train", "val")
CIFAR_SIDE = 32
CIFAR_RECORD = 1 + 3 * CIFAR_SIDE**2


@dataclass(frozen=True)
class Item:
    """One picture: its name in reports, its label, and where its bytes are.

    `kind` is file, zip, slice (`length` bytes at `offset` of a larger file, such as an uncompressed tar), cifar (a
    record of a binary file) or drawn (`offset` counts the generator's pictures). `container` is the file or archive and
    `member` the name within it.
    """

    name: str
    label: int
    kind: str
    container: str
    member: str = ""
    offset: int = 0
    length: int = 0


@dataclass(frozen=True)
class Source:
    """A listed source: the class names in the order of the labels, and the items of each part."""

    classes: tuple[str, ...]
    items: dict[str, list[Item]]


def list_source(text: str) -> Source:
    """Return what is in a source: a folder, a .zip, ILSVRC's or CIFAR-10's folder, or `generator:seed=0,...`.

    Raises InputError when it is none of them.
    """
    if text == "generator" or text.startswith("generator:"):
        return _list_generator(text)
    path = Path(text)
    if path.suffix.lower() == ".zip" and path.is_file():
        return _list_zip(path)
    if (path / "data_batch_1.bin").is_file():
        return _list_cifar10(path)
    if (path / "data_batch_1").is_file():
        raise InputError(
            f"{path} holds CIFAR-10 in its Python layout, which is pickle and is not read; "
            "take the binary version (data_batch_1.bin)"
        )
    from alexnet.train.data.ilsvrc import is_ilsvrc, list_ilsvrc

    if is_ilsvrc(path):
        return Source(*list_ilsvrc(path))
    if path.is_dir():
        return _list_folder(path)
    raise InputError(
        f"{path} is no source of pictures, expected a folder with train/ and val/, a .zip of one, ILSVRC's or "
        "CIFAR-10's files, or generator:train=3000,val=500"
    )


def source_bytes(item: Item) -> bytes:
    """Return the bytes that a digest is taken of: the encoded picture, or the record."""
    try:
        if item.kind == "file":
            return Path(item.container).read_bytes()
        if item.kind == "zip":
            return _open_zip(item.container).read(item.member)
        with Path(item.container).open("rb") as file:
            file.seek(item.offset)
            return file.read(item.length)
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise PictureError(f"{item.name} cannot be read: {error}") from None


def read_item(item: Item) -> tuple[Image.Image, bytes]:
    """Return one picture, upright and RGB, and its source's bytes; PictureError when it cannot be decoded."""
    if item.kind == "drawn":
        seed, part, size = item.member.split(",")
        picture = draw_picture(item.label, seed=int(seed), part=part, index=item.offset, size=int(size))
        return picture, f"{item.member},{item.label},{item.offset}".encode()
    data = source_bytes(item)
    if item.kind == "cifar":
        planes = np.frombuffer(data, dtype=np.uint8, offset=1).reshape(3, CIFAR_SIDE, CIFAR_SIDE)
        return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))), data
    return decode_picture(data, item.name), data


@functools.lru_cache(maxsize=4)
def _open_zip(path: str) -> zipfile.ZipFile:
    """Return an open zip file, kept open in each process."""
    return zipfile.ZipFile(path)


def _list_folder(root: Path) -> Source:
    """Return an ImageFolder tree; a folder test/ stands for val/ where there is none."""
    held_out = "val" if (root / "val").is_dir() or not (root / "test").is_dir() else "test"
    classes = folder_classes(root, held_out)
    items = {
        part: [
            Item(str(path.relative_to(root)), label, "file", str(path))
            for label, name in enumerate(classes)
            for path in find_pictures([root / folder / name])
        ]
        for part, folder in (("train", "train"), ("val", held_out))
    }
    return Source(classes, items)


def _list_zip(path: Path) -> Source:
    """Return an ImageFolder tree inside a zip file, below any folders of its own."""
    try:
        names = sorted(entry.filename for entry in _open_zip(str(path)).infolist() if not entry.is_dir())
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a whole zip file ({error}); fetch it again") from None
    found: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) >= 3 and parts[-3] in found and PurePosixPath(name).suffix.lower() in SUFFIXES:
            found[parts[-3]].append((parts[-2], name))
    held_out = found["val"] or found["test"]
    classes = tuple(sorted({name for name, _ in found["train"]}))
    strangers = set(classes) ^ {name for name, _ in held_out}
    if not classes or strangers:
        what = (
            f"classes that differ between train and val: {sorted(strangers)[:3]}"
            if classes
            else "no train/CLASS/picture"
        )
        raise InputError(f"{path} holds {what}; expected train/CLASS/*.jpg and val/CLASS/*.jpg")
    labels = {name: label for label, name in enumerate(classes)}
    items = {
        part: [Item(name, labels[kind], "zip", str(path), name) for kind, name in listed]
        for part, listed in (("train", found["train"]), ("val", held_out))
    }
    return Source(classes, items)


def _list_cifar10(root: Path) -> Source:
    """Return CIFAR-10 in its official binary layout: records of a label byte and 3072 bytes of planes."""
    try:
        classes = tuple((root / "batches.meta.txt").read_text(encoding="ascii").split())
    except OSError as error:
        raise InputError(f"{root} has no batches.meta.txt ({error}); unpack the whole archive") from None
    items: dict[str, list[Item]] = {"train": [], "val": []}
    for part, pattern in (("train", "data_batch_*.bin"), ("val", "test_batch.bin")):
        for path in sorted(root.glob(pattern)):
            data = np.fromfile(path, dtype=np.uint8)
            if data.size % CIFAR_RECORD or not data.size:
                raise InputError(f"{path} has {data.size} bytes, expected a multiple of {CIFAR_RECORD}; fetch it again")
            for record, label in enumerate(data.reshape(-1, CIFAR_RECORD)[:, 0].tolist()):
                if label >= len(classes):
                    raise InputError(
                        f"{path} has label {label} in record {record}, batches.meta.txt {len(classes)} classes"
                    )
                name, offset = f"{path.name}#{record}", record * CIFAR_RECORD
                items[part].append(Item(name, label, "cifar", str(path), offset=offset, length=CIFAR_RECORD))
    return Source(classes, items)


def _list_generator(text: str) -> Source:
    """Return pictures that are drawn as they are read: `generator:seed=0,size=128,train=3000,val=500`."""
    values = {"seed": 0, "size": 128, "train": 3000, "val": 500}
    for setting in filter(None, text.removeprefix("generator").removeprefix(":").split(",")):
        found = re.fullmatch(r"(\w+)=(\d+)", setting)
        if not found or found[1] not in values:
            raise InputError(f"{setting!r} in {text} is not understood, expected settings of {', '.join(values)}")
        values[found[1]] = int(found[2])
    items = {
        part: [
            Item(
                f"{part}/{CLASSES[place % 10]}-{place // 10 + 1}",
                place % 10,
                "drawn",
                "",
                f"{values['seed']},{part},{values['size']}",
                place // 10 + 1,
            )
            for place in range(values[part])
        ]
        for part in PARTS
    }
    return Source(CLASSES, items)
