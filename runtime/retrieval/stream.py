"""The last hidden layer of many pictures, written to disk as it comes, so that a run that was killed goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alexnet.errors import InputError, ModelError, PictureError
from alexnet.files import fsync_folder, read_json, write_bytes
from alexnet.progress import Count
from alexnet.runtime.backends import Backend, Floats
from alexnet.runtime.classify import Features, Result, classify
from alexnet.runtime.features import npy_header
from alexnet.runtime.retrieval.collection import Collection, Pixels
from alexnet.runtime.retrieval.folder import FEATURES, PART, PROGRESS

# Rows between two flushes to disk: what a killed run repeats at most.
BLOCK = 1024
HEADER = len(npy_header(0, 1))


def stream_features(
    backend: Backend,
    collection: Collection,
    of: Features,
    batch: int,
    folder: Path,
    say: Callable[[str], None],
    count: Count,
) -> None:
    """Write features.npy, float32 [N, F], of the pictures that can be decoded; the others are told to `say`.

    Memory holds the batches of `classify` and one row, whatever the number of pictures. Returns at once where the file
    is whole already. Raises PictureError when no picture can be decoded.
    """
    part = folder / PART
    if (folder / FEATURES).is_file():
        return
    total = len(collection.names)
    seen, skipped, length = _progress(folder)
    with part.open("r+b" if part.exists() else "w+b") as file:
        file.truncate(HEADER + (seen - len(skipped)) * 4 * length if length else 0)
        file.seek(0, os.SEEK_END)
        if seen:
            say(f"{folder}: {seen:,} of {total:,} pictures are done already")
        for result in _results(backend, collection, range(seen, total), of, batch):
            if result.error is not None:
                say(f"skipped: {collection.names[seen]}: {result.error}")
                skipped.append(seen)
            else:
                length = _write(file, _layer(result), length)
            seen += 1
            if seen % BLOCK == 0:
                _flush(file, folder, seen, skipped, length)
            count(seen, total)
        if seen == len(skipped):
            raise PictureError(f"none of the {total:,} pictures could be decoded; the reasons are above")
        _flush(file, folder, seen, skipped, length)
        file.seek(0)
        file.write(npy_header(seen - len(skipped), length))
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / FEATURES)
    fsync_folder(folder)


def skipped_places(folder: Path) -> list[int]:
    """Return the places of the pictures that have no row."""
    return _progress(folder)[1]


def _results(
    backend: Backend, collection: Collection, places: Iterable[int], of: Features, batch: int
) -> Iterable[Result]:
    """Yield what became of each picture; `classify` knows a picture by a path, here its place."""

    def load(path: Path, preprocessing: object) -> Pixels:
        return collection.read(int(path.name))

    paths = (Path(str(place)) for place in places)
    workers = os.cpu_count() or 1
    return classify(backend, paths, top=1, batch=batch, workers=workers, features=of, load=load)


def _layer(result: Result) -> Floats:
    """Return a result's features; ModelError when one is NaN or infinite, which has no neighbours."""
    assert result.features is not None
    if not np.isfinite(result.features).all():
        raise ModelError("the model's last hidden layer is NaN or infinite; see what alexnet check says of it")
    return result.features


def _write(file: BinaryIO, layer: Floats, length: int) -> int:
    """Append a row, behind a header that is filled in when the rows are counted, and return its length."""
    if not length:
        file.write(npy_header(0, len(layer)))
    file.write(layer.astype("<f4").tobytes())
    return len(layer)


def _flush(file: BinaryIO, folder: Path, seen: int, skipped: list[int], length: int) -> None:
    """Bring the rows to disk, and only then say that they are there."""
    file.flush()
    os.fsync(file.fileno())
    values = {"seen": seen, "skipped": skipped, "length": length}
    write_bytes(folder / PROGRESS, json.dumps(values).encode())


def _progress(folder: Path) -> tuple[int, list[int], int]:
    """Return how many pictures were seen, the places of those skipped, and the length of a row, 0 before the first."""
    if not (folder / PROGRESS).is_file():
        return 0, [], 0
    values = read_json(folder / PROGRESS)
    seen, skipped, length = values["seen"], values["skipped"], values["length"]
    rows = folder / (FEATURES if (folder / FEATURES).is_file() else PART)
    needed = (seen - len(skipped)) * 4 * length
    if needed and (not rows.is_file() or rows.stat().st_size < HEADER + needed):
        raise InputError(f"{rows} holds less than {folder / PROGRESS} says; remove {folder} and index again")
    return seen, list(skipped), length
