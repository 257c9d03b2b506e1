"""The pictures of a run, cut into parts that a worker does at once, the same each time it is cut.

A part is a slice of picture files, a tar shard (WebDataset's form), or a row group of a Parquet file. It holds names
and no bytes: a worker reads what it classifies, and no picture passes through Ray.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from alexnet.errors import InputError
from alexnet.picture_files import SUFFIXES
from alexnet.runtime.cluster.shards import PARQUET, TAR, row_groups
from alexnet.runtime.inputs import picture_paths

# Picture files in a part: about a 64th of a small run, so that workers end together, and at most LARGEST.
PARTS, SMALLEST, LARGEST = 64, 32, 1024


@dataclass(frozen=True)
class Part:
    """One unit of work.

    `paths` are picture files, or the one shard; `group` and `first` are the row group of a Parquet shard and the number
    of its first row; `stamp` is a shard's size in bytes and time of change in nanoseconds, by which another file in its
    place is noticed.
    """

    number: int
    kind: Literal["files", "tar", "parquet"]
    paths: tuple[str, ...]
    group: int = 0
    first: int = 0
    stamp: tuple[int, int] = (0, 0)

    def to_json(self) -> str:
        """Return the part as one line of ASCII."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Part:
        """Return the part that `to_json` wrote."""
        values = json.loads(text)
        return Part(**{**values, "paths": tuple(values["paths"]), "stamp": tuple(values["stamp"])})


def cut(arguments: list[str], listed: IO[bytes]) -> list[Part]:
    """Return the parts of what `alexnet infer` is given: files, folders, patterns, `-`, and shards among them.

    Raises InputError for what is missing or empty, and for a shard that cannot be opened.
    """
    files: list[str] = []
    shards: list[Path] = []
    for path in picture_paths(arguments, listed, (*SUFFIXES, TAR, PARQUET)):
        if path.suffix.lower() in (TAR, PARQUET):
            shards.append(path)
        else:
            files.append(str(path))
    size = min(max(-(-len(files) // PARTS), SMALLEST), LARGEST)
    slices = [tuple(files[first : first + size]) for first in range(0, len(files), size)]
    parts = [Part(number, "files", paths) for number, paths in enumerate(slices)]
    for path in shards:
        parts += _of_shard(path, len(parts))
    return parts


def _of_shard(path: Path, number: int) -> Iterator[Part]:
    """Yield the parts of a shard, numbered from `number`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}; give a shard that is there") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a file; give a tar or Parquet file")
    stamp = (status.st_size, status.st_mtime_ns)
    if path.suffix.lower() == TAR:
        yield Part(number, "tar", (str(path),), stamp=stamp)
        return
    first = 0
    for group, rows in enumerate(row_groups(path)):
        yield Part(number + group, "parquet", (str(path),), group, first, stamp)
        first += rows


def digest_of(parts: Iterable[Part]) -> str:
    """Return the SHA-256 by which a run that goes on knows that its pictures are the same."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.to_json().encode() + b"\n")
    return digest.hexdigest()
