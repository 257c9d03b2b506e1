"""Each kind of source, written here by independent means, lists and reads to the same pictures."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import InputError, MissingPackageError, PictureError
from alexnet.train.data.sources import list_source, read_item

RANDOM = np.random.default_rng(0)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def colours(data: bytes) -> bytes:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("train/b/1.jpg", "train/a/2.jpg", "train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg")):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(jpeg(number))
    return tmp_path / "data"


def test_a_folder_in_sorted_order(folder: Path) -> None:
    source = list_source(str(folder))
    assert source.classes == ("a", "b")
    assert [(item.name, item.label) for item in source.items["train"]] == [
        ("train/a/1.jpg", 0),
        ("train/a/2.jpg", 0),
        ("train/b/1.jpg", 1),
    ]
    assert read_item(source.items["train"][2])[0].tobytes() == colours(jpeg(0))


def test_test_stands_for_val_where_there_is_none(folder: Path) -> None:
    (folder / "val").rename(folder / "test")
    assert [item.name for item in list_source(str(folder)).items["val"]] == ["test/a/1.jpg", "test/b/1.jpg"]


def test_a_zip_of_the_folder_is_read_without_unpacking(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted(folder.rglob("*.jpg"), reverse=True):
            archive.write(path, Path("pictures-128") / path.relative_to(folder))
        archive.writestr("pictures-128/README.txt", "words")
    source = list_source(str(tmp_path / "data.zip"))
    direct = list_source(str(folder))
    for part in ("train", "val"):
        found = [read_item(item)[1] for item in source.items[part]]
        assert found == [read_item(item)[1] for item in direct.items[part]]
    assert source.classes == direct.classes


def test_a_zip_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("words.txt", "words")
    with pytest.raises(InputError, match="no train/CLASS/picture"):
        list_source(str(tmp_path / "other.zip"))
    (tmp_path / "broken.zip").write_bytes(b"PK not really")
    with pytest.raises(InputError, match="not a whole zip"):
        list_source(str(tmp_path / "broken.zip"))


def cifar10(root: Path) -> list[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
    root.mkdir()
    (root / "batches.meta.txt").write_text("airplane\ncat\nship\n\n")
    records = []
    for name, number in (("data_batch_1.bin", 4), ("data_batch_2.bin", 3), ("test_batch.bin", 2)):
        data = b""
        for _ in range(number):
            label = int(RANDOM.integers(3))
            pixels = RANDOM.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            records.append((label, pixels))
            data += struct.pack("B", label) + b"".join(pixels[:, :, plane].tobytes() for plane in range(3))
        (root / name).write_bytes(data)
    return records


def test_cifar10s_binary_layout(tmp_path: Path) -> None:
    records = cifar10(tmp_path / "cifar")
    source = list_source(str(tmp_path / "cifar"))
    assert source.classes == ("airplane", "cat", "ship")
    assert [len(source.items[part]) for part in ("train", "val")] == [7, 2]
    for item, (label, pixels) in zip(source.items["train"] + source.items["val"], records, strict=True):
        assert item.label == label
        assert np.array_equal(np.asarray(read_item(item)[0]), pixels)


def test_cifar10_in_pickle_or_cut_short_is_refused(tmp_path: Path) -> None:
    cifar10(tmp_path / "cifar")
    path = tmp_path / "cifar" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="expected a multiple of 3073"):
        list_source(str(tmp_path / "cifar"))
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "data_batch_1").write_bytes(b"")
    with pytest.raises(InputError, match="pickle and is not read"):
        list_source(str(tmp_path / "python"))


def tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def ilsvrc(root: Path, tars: bool) -> None:
    """Three classes whose order by ID is not that of their names; two pictures each, four to validate."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "synsets.txt").write_text("2 n01\n1 n03\n3 n02\n")
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n1\n2\n1\n")
    train = {
        wnid: {f"{wnid}_{n}.JPEG": jpeg(10 * n + place) for n in (1, 2)}
        for place, wnid in enumerate(("n01", "n02", "n03"))
    }
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(100 + n) for n in (4, 1, 3, 2)}
    if tars:
        (root / "ILSVRC2012_img_train.tar").write_bytes(
            tar({f"{wnid}.tar": tar(files) for wnid, files in train.items()})
        )
        (root / "ILSVRC2012_img_val.tar").write_bytes(tar(val))
        return
    for folder, files in [("val", val), *((f"train/{wnid}", files) for wnid, files in train.items())]:
        (root / folder).mkdir(parents=True)
        for name, content in files.items():
            (root / folder / name).write_bytes(content)


@pytest.mark.parametrize("tars", [True, False])
def test_ilsvrc_keeps_the_devkits_order(tmp_path: Path, tars: bool) -> None:
    ilsvrc(tmp_path, tars)
    source = list_source(str(tmp_path))
    assert source.classes == ("n03", "n01", "n02")
    found = {item.name: (item.label, read_item(item)[1]) for part in source.items.values() for item in part}
    assert found["train/n03/n03_1.JPEG"] == (0, jpeg(12))
    assert found["train/n02/n02_2.JPEG"] == (2, jpeg(21))
    assert [item.label for item in source.items["val"]] == [2, 0, 1, 0]
    assert found["val/ILSVRC2012_val_00000004.JPEG"] == (0, jpeg(104))
    assert len(source.items["train"]) == 6


def test_ilsvrc_with_a_part_missing_says_which(tmp_path: Path) -> None:
    ilsvrc(tmp_path, tars=True)
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(tar({"ILSVRC2012_val_00000001.JPEG": jpeg(1)}))
    with pytest.raises(InputError, match="1 validation pictures, the ground truth 4"):
        list_source(str(tmp_path))
    (tmp_path / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(InputError, match=r"neither val/ nor ILSVRC2012_img_val\.tar"):
        list_source(str(tmp_path))


def test_the_devkits_own_class_list_is_read_by_scipy(tmp_path: Path) -> None:
    ilsvrc(tmp_path, tars=False)
    data = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    (data / "synsets.txt").unlink()
    try:
        from scipy.io import savemat
    except ImportError:
        with pytest.raises(MissingPackageError, match="scipy"):
            list_source(str(tmp_path))
        return
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("num_children", "f8")]
    rows = np.array([(2, "n01", 0), (1, "n03", 0), (3, "n02", 0), (4, "n00", 3)], dtype=kinds)
    savemat(data / "meta.mat", {"synsets": rows})
    assert list_source(str(tmp_path)).classes == ("n03", "n01", "n02")


def test_the_generator_is_a_source() -> None:
    source = list_source("generator:seed=3,size=32,train=12,val=10")
    assert [len(source.items[part]) for part in ("train", "val")] == [12, 10]
    picture, data = read_item(source.items["train"][11])
    assert min(picture.size) == 32
    assert data != read_item(source.items["val"][0])[1]
    with pytest.raises(InputError, match="'trian=5' in generator:trian=5 is not understood"):
        list_source("generator:trian=5")


def test_what_is_no_source_and_what_cannot_be_read(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="is no source of pictures"):
        list_source(str(tmp_path / "absent"))
    item = list_source(str(folder)).items["train"][0]
    Path(item.container).unlink()
    with pytest.raises(PictureError, match="cannot be read"):
        read_item(item)
