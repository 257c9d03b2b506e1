"""ILSVRC-2012 as it is distributed: tars or folders of training pictures, flat validation pictures, the devkit."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from alexnet.errors import InputError, missing_package
from alexnet.train.data import sources

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
CLASSES = 1000


def is_ilsvrc(root: Path) -> bool:
    """Return whether a folder holds ILSVRC's own files: its devkit, or its training tar."""
    return root.is_dir() and (_devkit(root) is not None or (root / TRAIN_TAR).is_file())


def list_ilsvrc(root: Path) -> tuple[tuple[str, ...], dict[str, list[sources.Item]]]:
    """Return wnids in the order of ILSVRC2012_ID (label 0 is ID 1) and the items of train and val.

    Raises InputError when a part or the devkit is missing.
    """
    devkit = _devkit(root)
    if devkit is None:
        raise InputError(f"{root} has no ILSVRC2012_devkit_t12 folder; unpack the devkit there: it orders the classes")
    wnids = _wnids(devkit)
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    return wnids, {"train": _train_items(root, labels), "val": _val_items(root, devkit, len(wnids))}


def _devkit(root: Path) -> Path | None:
    """Return the devkit's data folder, or None."""
    found = [path for path in sorted(root.glob("ILSVRC2012_devkit*/data")) if path.is_dir()]
    return found[0] if found else None


def _wnids(devkit: Path) -> tuple[str, ...]:
    """Return the wnids of the leaf synsets by ILSVRC2012_ID, from synsets.txt (ID and wnid a line) or meta.mat."""
    listed = devkit / "synsets.txt"
    if listed.is_file():
        pairs = [line.split()[:2] for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
        return tuple(wnid for _, wnid in sorted((int(number), wnid) for number, wnid in pairs))
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise missing_package("scipy", "ilsvrc", f"reading {devkit / 'meta.mat'}") from None
    try:
        synsets = loadmat(devkit / "meta.mat", squeeze_me=True)["synsets"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{devkit / 'meta.mat'} cannot be read ({error}); unpack the devkit again") from None
    leaves = [(int(row["ILSVRC2012_ID"]), str(row["WNID"])) for row in synsets if int(row["num_children"]) == 0]
    return tuple(wnid for _, wnid in sorted(leaves))


def _train_items(root: Path, labels: dict[str, int]) -> list[sources.Item]:
    """Return the training pictures, from class folders or straight out of the tar of class tars."""
    if (root / "train").is_dir():
        return [
            sources.Item(f"train/{wnid}/{path.name}", label, "file", str(path))
            for wnid, label in labels.items()
            for path in sorted((root / "train" / wnid).glob("*.JPEG"))
        ]
    path = root / TRAIN_TAR
    if not path.is_file():
        raise InputError(f"{root} has neither train/ nor {TRAIN_TAR}; fetch the training pictures")
    items = []
    with tarfile.open(path, "r:") as outer:
        for member in outer:
            wnid = Path(member.name).stem
            inner = outer.extractfile(member)
            if inner is None or wnid not in labels:
                raise InputError(f"{path} holds {member.name}, which is no class of the devkit")
            with tarfile.open(fileobj=inner, mode="r:") as pictures:
                items += [
                    _slice(f"train/{wnid}/{picture.name}", labels[wnid], path, member.offset_data, picture)
                    for picture in pictures
                    if picture.isfile()
                ]
    return items


def _val_items(root: Path, devkit: Path, classes: int) -> list[sources.Item]:
    """Return the validation pictures in the order of their numbers, with the devkit's ground truth."""
    truth_path = devkit / "ILSVRC2012_validation_ground_truth.txt"
    try:
        truth = [int(line) for line in truth_path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as error:
        raise InputError(f"{truth_path} cannot be read ({error}); unpack the devkit again") from None
    if any(not 1 <= number <= classes for number in truth):
        raise InputError(f"{truth_path} names classes beyond the devkit's {classes}")
    if (root / "val").is_dir():
        found = {_number(path.name): (path, None) for path in (root / "val").glob("*.JPEG")}
    elif (root / VAL_TAR).is_file():
        with tarfile.open(root / VAL_TAR, "r:") as archive:
            found = {_number(entry.name): (root / VAL_TAR, entry) for entry in archive if entry.isfile()}  # type: ignore[misc]
    else:
        raise InputError(f"{root} has neither val/ nor {VAL_TAR}; fetch the validation pictures")
    if sorted(found) != list(range(1, len(truth) + 1)):
        raise InputError(
            f"{root} has {len(found)} validation pictures, the ground truth {len(truth)}; fetch them again"
        )
    items = []
    for number, label in enumerate(truth, start=1):
        path, entry = found[number]
        name = f"val/ILSVRC2012_val_{number:08d}.JPEG"
        if entry is None:
            items.append(sources.Item(name, label - 1, "file", str(path)))
        else:
            items.append(_slice(name, label - 1, path, 0, entry))
    return items


def _number(name: str) -> int:
    """Return the number in `ILSVRC2012_val_00000001.JPEG`."""
    found = re.search(r"_(\d+)\.JPEG$", name)
    if not found:
        raise InputError(f"{name} is no validation picture of ILSVRC, expected ILSVRC2012_val_00000001.JPEG")
    return int(found[1])


def _slice(name: str, label: int, path: Path, base: int, entry: tarfile.TarInfo) -> sources.Item:
    """Return a picture that lies uncompressed in a tar, `base` bytes into a file."""
    return sources.Item(name, label, "slice", str(path), entry.name, base + entry.offset_data, entry.size)
