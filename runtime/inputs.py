"""What `alexnet infer` is given, as a stream of paths: files, folders, patterns, and a list on standard input."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from alexnet.errors import InputError
from alexnet.picture_files import SUFFIXES, find_pictures

LIST = "-"
BLOCK = 1 << 16


def picture_paths(arguments: list[str], listed: IO[bytes], suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Return the pictures that the arguments name, in their order, as they are found and not all at once.

    A folder is walked in sorted order for files of `suffixes`, a pattern (`*`, `?`, `[`, `**`) that is no file itself
    is expanded in sorted order, and `-` stands for the paths in `listed`. Raises InputError at once when a path is
    missing or a pattern matches nothing, and while it goes when a folder holds no picture.
    """
    found: list[Path | None] = []
    for argument in arguments:
        if argument == LIST:
            found.append(None)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            found += _matches(argument)
        else:
            found.append(_there(Path(argument)))
    return _stream(found, listed, suffixes)


def _stream(found: list[Path | None], listed: IO[bytes], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the pictures of each path, those of the list where there is none."""
    for path in found:
        yield from listed_paths(listed, suffixes) if path is None else find_pictures([path], suffixes)


def _matches(pattern: str) -> list[Path]:
    """Return what a pattern matches, sorted; InputError when that is nothing."""
    # Path.glob takes no absolute pattern.
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    if not matches:
        raise InputError(
            f"{pattern} cannot be opened: No such file, and no other matches it as a pattern; give pictures or folders"
        )
    return [Path(match) for match in matches]


def _there(path: Path) -> Path:
    """Return a path that exists; InputError otherwise."""
    try:
        path.stat()
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened: {error.strerror or error}; give a picture or a folder of pictures"
        ) from None
    return path


def listed_paths(listed: IO[bytes], suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield the pictures of a list of paths, one a line, or each ended by a NUL where the list holds one at its start.

    A path that is not there is passed on, to be reported like a picture that cannot be decoded; a folder is walked.
    Empty lines are left out.
    """
    rest, separator = b"", b""
    for block in iter(lambda: _block(listed), b""):
        rest += block
        if not separator:
            separator = b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else b""
        if separator:
            *whole, rest = rest.split(separator)
            yield from _named(whole, suffixes)
    yield from _named([rest], suffixes)


def _block(listed: IO[bytes]) -> bytes:
    """Return what a stream has at once, at most BLOCK bytes, so that a slow list is worked on as it comes."""
    read = getattr(listed, "read1", listed.read)
    data: bytes = read(BLOCK)
    return data


def _named(names: list[bytes], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the pictures of some paths as they stand in a list."""
    for name in filter(None, (name.removesuffix(b"\r") for name in names)):
        path = Path(os.fsdecode(name))
        try:
            folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError):
            folder = False
        yield from find_pictures([path], suffixes) if folder else (path,)
