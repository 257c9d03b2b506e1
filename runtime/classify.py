"""Batched ten-crop inference over files: decoding runs ahead in threads, answers come in the order of the paths."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.errors import ModelError, PictureError
from alexnet.pictures import load_picture
from alexnet.runtime.backends import Backend, Floats

Pixels = npt.NDArray[np.uint8]

DEFAULT_BATCH = 8
# Batches of decoded pictures that wait at most: memory stays the same for any number of pictures.
AHEAD = 2


@dataclass(frozen=True)
class Answer:
    """One class of one picture with its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Result:
    """What became of one picture: its best classes, best first, or the reason why it has none."""

    path: Path
    answers: tuple[Answer, ...]
    error: str | None = None


def classify(
    backend: Backend, paths: Iterable[Path], *, top: int = 5, batch: int = DEFAULT_BATCH, workers: int = 2
) -> Iterator[Result]:
    """Yield a result for each path, in the order given; a picture that cannot be decoded yields its error.

    `batch` pictures are classified at once, fewer where the backend takes fewer; `workers` threads decode.
    """
    size = min(batch, backend.largest_batch or batch)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: deque[tuple[Path, Future[Pixels | PictureError]]] = deque()
        source = iter(paths)

        def refill() -> None:
            for path in islice(source, size * (1 + AHEAD) - len(waiting)):
                waiting.append((path, pool.submit(_load, path, backend)))

        refill()
        while waiting:
            taken: list[tuple[Path, Pixels | PictureError]] = []
            good = 0
            # A run of bad pictures is passed on after a while, so that it is reported as it comes.
            while waiting and good < size and len(taken) < size * (1 + AHEAD):
                path, future = waiting.popleft()
                taken.append((path, future.result()))
                good += not isinstance(taken[-1][1], PictureError)
                refill()
            yield from _answer(backend, taken, top)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _load(path: Path, backend: Backend) -> Pixels | PictureError:
    """Return a file's picture as the model wants it, or the error that says why there is none."""
    try:
        return load_picture(path, backend.metadata.preprocessing)
    except PictureError as error:
        return error


def _answer(backend: Backend, taken: list[tuple[Path, Pixels | PictureError]], top: int) -> Iterator[Result]:
    """Yield the results of one batch, errors in their places."""
    pictures = [picture for _, picture in taken if not isinstance(picture, PictureError)]
    answers = iter(backend.probabilities(np.stack(pictures)) if pictures else ())
    labels = backend.metadata.labels
    for path, picture in taken:
        if isinstance(picture, PictureError):
            yield Result(path, (), picture.message)
            continue
        probabilities: Floats = next(answers)
        if not np.isfinite(probabilities).all():
            raise ModelError(f"the model answers NaN or infinity for {path}; see what alexnet check says of it")
        best = np.argsort(-probabilities, kind="stable")[:top]
        yield Result(path, tuple(Answer(labels[place], float(probabilities[place])) for place in best))
