"""Folders and files of pictures, the odd ones among them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from alexnet import picture_files
from alexnet.errors import InputError, PictureError
from alexnet.picture_files import find_pictures
from alexnet.pictures import load_picture
from tests.alexnet.scenes import JPEG, SIDE


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)


def found(*paths: Path) -> list[str]:
    return [str(path.relative_to(paths[0])) for path in find_pictures(list(paths))]


def test_folders_are_walked_in_sorted_order(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a/2.png", "a/10.webp", "a/c/1.tif", "c.jpeg", ".hidden.jpg", ".git/x.jpg", "notes.txt")
    assert found(tmp_path) == ["a/10.webp", "a/2.png", "a/c/1.tif", "b.JPG", "c.jpeg"]


def test_names_in_any_letters(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "猫 🐈.png", "Ü/é.jpg", os.fsdecode(b"\xff\xfe.jpg"), "-dash.jpg"]
    make(tmp_path, *names)
    assert sorted(found(tmp_path)) == sorted(names)


def test_a_file_named_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "picture.dat")
    assert list(find_pictures([tmp_path / "picture.dat"])) == [tmp_path / "picture.dat"]


def test_a_folder_without_pictures_and_a_missing_path(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"holds no pictures \(.bmp"):
        found(tmp_path)
    with pytest.raises(InputError, match="absent cannot be opened: No such file"):
        found(tmp_path / "absent")
    with pytest.raises(InputError, match="File name too long"):
        found(tmp_path / ("x" * 5000))


def test_links_in_circles_end(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("absent.jpg")
    assert found(tmp_path) == ["a/1.jpg", "b/2.jpg", "gone.jpg", "self.jpg"]
    for name in ("gone.jpg", "self.jpg"):
        with pytest.raises(PictureError, match=f"{name} cannot be read"):
            load_picture(tmp_path / name, SIDE)


def test_folders_linked_crosswise_are_each_walked_once(tmp_path: Path) -> None:
    for name in "abcdefgh":
        make(tmp_path, f"{name}/{name}.jpg")
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert sorted(path.name for path in find_pictures([tmp_path])) == [f"{name}.jpg" for name in "abcdefgh"]


def test_folders_nested_deeper_than_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")  # noqa: PTH102 the path is too long to be given whole
        os.chdir("d")
    Path("deep.jpg").write_bytes(JPEG)
    os.chdir(tmp_path)
    try:
        assert [path.name for path in find_pictures([Path()])] == ["deep.jpg"]
    finally:
        # pytest's own clean-up is recursive and would fail on a folder this deep.
        subprocess.run(["rm", "-r", "d"], check=True)


def test_a_folder_that_cannot_be_read_is_said_before_anything_is_classified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    original = Path.iterdir

    def refuse(self: Path) -> Any:
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return original(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="b cannot be read: Permission denied; mend its permissions"):
        found(tmp_path)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(JPEG)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match=r"picture\.jpg cannot be read: Permission denied"):
        load_picture(path, SIDE)


def test_pipes_folders_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "zero.jpg", "folder.jpg"):
        with pytest.raises(PictureError, match=f"{name} is not a file"):
            load_picture(tmp_path / name, SIDE)


def test_a_file_beyond_the_byte_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(JPEG)
    monkeypatch.setattr(picture_files, "FILE_LIMIT", len(JPEG) - 1)
    with pytest.raises(PictureError, match=f"has {len(JPEG):,} bytes, the limit is {len(JPEG) - 1:,}"):
        load_picture(path, SIDE)
