from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from alexnet.errors import InputError
from alexnet.runtime.inputs import listed_paths, picture_paths

NOTHING = io.BytesIO()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a/1.png", "a/2.png", "b/c/3.png", "b/notes.txt", "[x].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, listed: bytes = b"") -> list[str]:
    return [str(path) for path in picture_paths(list(arguments), io.BytesIO(listed))]


def test_folders_files_patterns_and_lists_keep_the_order_given(root: Path) -> None:
    assert names("b", "a/2.png", "a/*.png") == ["b/c/3.png", "a/2.png", "a/1.png", "a/2.png"]
    assert names("**/3.png", "-", "a", listed=b"b/c/3.png\n") == ["b/c/3.png", "b/c/3.png", "a/1.png", "a/2.png"]
    assert names("b*") == ["b/c/3.png"]
    assert names(f"{root}/a/*") == [f"{root}/a/1.png", f"{root}/a/2.png"]


def test_a_file_that_looks_like_a_pattern_is_a_file(root: Path) -> None:
    assert names("[x].png") == ["[x].png"]


@pytest.mark.parametrize("argument", ["absent", "*.gif"])
def test_what_is_not_there_is_said_before_anything_is_walked(root: Path, argument: str) -> None:
    with pytest.raises(InputError, match=r"cannot be opened: No such file"):
        picture_paths(["a", argument], NOTHING)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a.png\nb.png\n", ["a.png", "b.png"]),
        (b"a.png\r\n\nb.png", ["a.png", "b.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        (b"one.png", ["one.png"]),
        (b"", []),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
    ],
)
def test_a_list_is_separated_by_newlines_or_nuls(text: bytes, found: list[str]) -> None:
    assert [str(path) for path in listed_paths(io.BytesIO(text))] == found


def test_a_list_in_small_pieces_is_the_same_list() -> None:
    class Pieces(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(3)

    assert [str(path) for path in listed_paths(Pieces(b"long name.png\nb.png\nc.png"))] == [
        "long name.png",
        "b.png",
        "c.png",
    ]


def test_a_list_is_worked_on_as_it_comes() -> None:
    class Slow(io.BytesIO):
        def __init__(self) -> None:
            self.pieces = iter([b"a.png\nb.", b"png\n"])

        def read1(self, size: int | None = -1, /) -> bytes:
            return next(self.pieces)

    paths: Iterator[Path] = listed_paths(Slow())
    assert str(next(paths)) == "a.png"
    assert str(next(paths)) == "b.png"


def test_a_folder_in_a_list_is_walked(root: Path) -> None:
    assert names("-", listed=b"a\nabsent.png\n") == ["a/1.png", "a/2.png", "absent.png"]


def test_folders_are_read_when_their_turn_comes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.iterdir
    read: list[str] = []

    def watched(self: Path) -> Iterator[Path]:
        read.append(str(self))
        return original(self)

    monkeypatch.setattr(Path, "iterdir", watched)
    paths = picture_paths(["a", "b"], NOTHING)
    assert read == []
    next(paths)
    assert read == ["a"]
