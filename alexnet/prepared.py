"""Prepared data on disk: pictures as uint8 in memory-mapped shards, or re-encoded JPEGs, read without any framework.

prepared/
    index.json                  what it is; without it the folder is unfinished
    plan.json                   what was asked for
    train-00000.raw             uint8 [n, S, S, 3], or train-00000.jpgs: JPEGs one after another
    train-00000.json            names, labels, digests of the source files, offsets, the shard's own digest
    train-00000.safetensors     sums over the shard, from which the statistics are made
    statistics.safetensors      mean image, covariance, principal components
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.decoding import decode_picture
from alexnet.errors import InputError
from alexnet.files import read_json
from alexnet.pictures import Preprocessing, square

FORMAT = 1
INDEX, PLAN, STATISTICS = "index.json", "plan.json", "statistics.safetensors"
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ShardedPictures:
    """Pictures uint8 [N, S, S, 3] spread over shards; indexing with an array or a slice copies those pictures.

    One by its index is [S, S, 3]: of a RAW shard it is read-only and nothing is copied yet.
    """

    shards: tuple[Path, ...]
    ends: npt.NDArray[np.int64]
    offsets: tuple[tuple[int, ...], ...]
    side: int

    def __len__(self) -> int:
        """Return the number of pictures."""
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape that the whole would have as one array."""
        return len(self), self.side, self.side, 3

    def __getitem__(self, chosen: int | np.integer[Any] | slice | npt.ArrayLike) -> Pixels:
        """Return pictures [n, S, S, 3] by indices (in their order) or by a slice, or one [S, S, 3] by its index."""
        if isinstance(chosen, int | np.integer):
            return self._picture(*self._place(range(len(self))[chosen]))
        places = np.arange(len(self))[chosen] if isinstance(chosen, slice) else np.asarray(chosen)
        pictures = np.empty((len(places), self.side, self.side, 3), dtype=np.uint8)
        for row, place in enumerate(places.tolist()):
            pictures[row] = self._picture(*self._place(place))
        return pictures

    def _place(self, place: int) -> tuple[int, int]:
        """Return the shard that a picture is in, and its place there."""
        shard = int(np.searchsorted(self.ends, place, side="right"))
        return shard, place - (int(self.ends[shard - 1]) if shard else 0)

    def _picture(self, shard: int, within: int) -> Pixels:
        """Return one picture of a shard."""
        path = self.shards[shard]
        if path.suffix == ".raw":
            picture: Pixels = _map(path, self.side)[within]
            return picture
        first, end = self.offsets[shard][within : within + 2]
        data = _map_bytes(path)[first:end].tobytes()
        return square(decode_picture(data, f"{path}#{within}"), Preprocessing(self.side))


@functools.lru_cache(maxsize=4096)
def _map(path: Path, side: int) -> Pixels:
    """Return a RAW shard as a memory map."""
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, side, side, 3)


@functools.lru_cache(maxsize=4096)
def _map_bytes(path: Path) -> Pixels:
    """Return a JPEG shard as a memory map of bytes."""
    return np.memmap(path, dtype=np.uint8, mode="r")


@dataclass(frozen=True)
class PreparedPart:
    """One part: pictures uint8 [N, S, S, 3], labels int64 [N], names, and the SHA-256 of each picture's source."""

    pictures: ShardedPictures
    labels: npt.NDArray[np.int64]
    names: list[str]
    digests: list[str]


def is_prepared(path: Path) -> bool:
    """Return whether a folder is prepared data, whole or not."""
    return (path / PLAN).is_file() or (path / INDEX).is_file()


def read_index(path: Path) -> dict[str, Any]:
    """Return the index of a whole data set of this format; InputError otherwise."""
    if not (path / INDEX).is_file():
        raise InputError(
            f"{path} is not prepared to the end; finish it by the same: alexnet data prepare SOURCE {path}"
        )
    return check_index(read_json(path / INDEX), path)


def check_index(values: Any, where: Path | str) -> dict[str, Any]:
    """Return the values of the index of data at `where`; InputError when they are not of this format."""
    index: dict[str, Any] = values if isinstance(values, dict) else {}
    if index.get("format") != FORMAT:
        raise InputError(
            f"{where} is prepared in format {index.get('format')!r}, this version reads {FORMAT}; prepare again"
        )
    return index


def check_preprocessing(path: Path, index: dict[str, Any], wanted: Preprocessing, model: Path) -> None:
    """Raise InputError, with the command that mends it, unless prepared data are as a model takes its pictures."""
    found = Preprocessing.from_values(index["preprocessing"])
    if found != wanted:
        raise InputError(
            f"{path} is prepared at {found.side} pixels ({found.resize}), {model} takes {wanted.side} "
            f"({wanted.resize}); prepare it again with: "
            f"alexnet data prepare SOURCE OUT --size {wanted.side} --resize {wanted.rule}"
        )


def open_prepared_part(path: Path, index: dict[str, Any], part: str) -> PreparedPart:
    """Return a part over its shards; InputError when a shard's size is not that of the index."""
    names: list[str] = []
    labels: list[int] = []
    digests: list[str] = []
    offsets = []
    shards, side = index["parts"][part], Preprocessing.from_values(index["preprocessing"]).side
    for shard in shards:
        file = path / Path(shard["file"]).name
        if not file.is_file() or file.stat().st_size != shard["bytes"]:
            raise InputError(f"{file} is missing or has another size than the index says; prepare {path} again")
        described = read_json(file.with_suffix(".json"))
        names += described["names"]
        labels += described["labels"]
        digests += described["source_sha256"]
        offsets.append(tuple(described["offsets"]))
    ends = np.cumsum([shard["pictures"] for shard in shards], dtype=np.int64)
    files = tuple(path / Path(shard["file"]).name for shard in shards)
    pictures = ShardedPictures(files, ends, tuple(offsets), side)
    return PreparedPart(pictures, np.array(labels, dtype=np.int64), names, digests)
