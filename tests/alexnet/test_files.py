from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet.errors import InputError
from alexnet.files import atomic_folder, atomic_write, read_json, sha256_of, umask, write_json


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.bin"
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o044 == 0o044


def test_json_round_trip_and_refusal_of_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": [1, 2.5]})
    assert read_json(path) == {"é": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path) == {"é": [1, 2.5]}


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_unreadable_json_is_an_input_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*a.json as JSON"):
        read_json(path)


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), atomic_write(tmp_path / "file" / "x"):
        pass


def test_digest_of_more_than_one_block(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "a" / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError("stopped")
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "a" / "out").mkdir()
    with atomic_folder(tmp_path / "a" / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "whole").write_text("x")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["out", "sub", "whole"]
    assert (tmp_path / "a" / "out").stat().st_mode & 0o777 == 0o777 & ~umask()
    with pytest.raises(InputError, match="cannot write"), atomic_folder(tmp_path / "a" / "out") as folder:
        (folder / "other").write_text("y")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["out", "sub", "whole"]


@pytest.mark.parametrize(("refused", "kept"), [(stat.S_ISREG, False), (stat.S_ISDIR, True)])
def test_a_file_that_does_not_reach_the_disk_is_an_error_and_a_folder_is_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[int], bool], kept: bool
) -> None:
    asked = set[int]()

    def failing(descriptor: int) -> None:
        status = os.fstat(descriptor)
        asked.add(status.st_ino)
        if refused(status.st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    expected = contextlib.nullcontext() if kept else pytest.raises(InputError, match=r"cannot write .*Input/output")
    with expected, atomic_folder(tmp_path / "out") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "whole").write_text("x")
    assert [path.name for path in tmp_path.rglob("*")] == (["out", "sub", "whole"] if kept else [])
    if kept:
        assert asked == {path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}
