"""The files of pictures: found in folders, and read within a limit."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from alexnet.errors import InputError, PictureError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# A file is held to the bytes that the most pixels decoded take uncompressed, with room for 16 bits a channel.
FILE_LIMIT = 1_000_000_000


def find_pictures(paths: list[Path], suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield the files named, and the pictures under the folders named, each folder walked in sorted order.

    A file is yielded whatever its suffix; in a folder those of `suffixes` count, and hidden ones do not. A folder
    that links lead to more than once is walked once. Raises InputError when a path is missing or a folder holds
    no picture.
    """
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(
                f"{path} cannot be opened: {error.strerror or error}; give a picture or a folder of pictures"
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            yield path
            continue
        found = False
        for file in _walk(path, suffixes):
            found = True
            yield file
        if not found:
            raise InputError(f"{path} holds no pictures ({', '.join(suffixes)}); give a folder that does")


def _walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of some suffixes under `folder`, depth first, names in sorted order, each real folder once.

    Of a folder only the names are held, and of those below it the ones that lead to the present place.
    """
    seen: set[tuple[int, int]] = set()
    above = [(folder, _names(folder, seen))]
    while above:
        parent, left = above[-1]
        if not left:
            above.pop()
            continue
        entry = parent / left.pop()
        try:
            below = entry.is_dir()
        except OSError as error:
            raise _unreadable(entry, error) from None
        if below:
            above.append((entry, _names(entry, seen)))
        elif entry.suffix.lower() in suffixes:
            yield entry


def _names(folder: Path, seen: set[tuple[int, int]]) -> list[str]:
    """Return the names in a folder, last first and without hidden ones; none when it has been seen already."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        return sorted((entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), reverse=True)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a folder, or what stands in one, that cannot be read."""
    return InputError(f"{path} cannot be read: {error.strerror or error}; mend its permissions")


def read_picture(path: Path) -> bytes:
    """Return the bytes of a regular file of at most FILE_LIMIT bytes; a pipe or a device could be without end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path} is not a file but a folder, pipe or device; give a picture file")
        if status.st_size > FILE_LIMIT:
            raise PictureError(f"{path} has {status.st_size:,} bytes, the limit is {FILE_LIMIT:,}; make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}; replace it or leave it out") from None
