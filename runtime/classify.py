"""Batched inference over a stream of files: decoding, assembling batches and running the model overlap.

Threads decode one batch ahead, this thread assembles the next one, and another thread runs the model; answers come in
the order of the paths. At most three batches of pictures are held, whatever the number of paths, and one more where a
GPU has two in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from alexnet.errors import ModelError, PictureError
from alexnet.pictures import Preprocessing, load_picture
from alexnet.runtime.backends import Backend, Floats, OutOfMemory
from alexnet.runtime.ensemble import with_features

Pixels = npt.NDArray[np.uint8]
Features = Literal["mean", "centre"]
Load = Callable[[Path, Preprocessing], Pixels]
# The files of a batch in their order, each with the reason when it is no picture.
Files = list[tuple[Path, str | None]]

DEFAULT_BATCH = 8
# The place of the centre crop among ten: `alexnet.crops.five_offsets`.
CENTRE = 4


@dataclass(frozen=True)
class Answer:
    """One class of one picture with its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Result:
    """What became of one picture: its best classes, best first, or the reason why it has none.

    `features` is the last hidden layer float32 [F] where it was asked for.
    """

    path: Path
    answers: tuple[Answer, ...]
    error: str | None = None
    features: Floats | None = None


def classify(
    backend: Backend,
    paths: Iterable[Path],
    *,
    top: int = 5,
    batch: int = DEFAULT_BATCH,
    workers: int = 2,
    features: Features | None = None,
    load: Load = load_picture,
    say: Callable[[str], None] | None = None,
) -> Iterator[Result]:
    """Yield a result for each path, in the order given; a picture that cannot be decoded yields its error.

    `batch` pictures are classified at once, fewer where the backend takes fewer or its memory does not hold them, which
    `say` is told; `workers` threads decode, by `load`.
    `features` asks for the last hidden layer, the mean of the crops' or that of the centre crop.
    """
    runner = Runner(backend, min(batch, backend.largest_batch or batch), features, say)
    at_once = getattr(backend, "in_flight", 1)
    decoders, running = ThreadPoolExecutor(workers), ThreadPoolExecutor(at_once)
    answered: deque[tuple[Files, Future[Answers]]] = deque()
    try:
        for files, pictures in _batches(backend, paths, decoders, runner, load):
            answered.append((files, running.submit(runner.answers, pictures)))
            del pictures
            if len(answered) > at_once:
                yield from _results(backend, *answered.popleft(), top)
        while answered:
            yield from _results(backend, *answered.popleft(), top)
    finally:
        for pool in (decoders, running):
            pool.shutdown(wait=False, cancel_futures=True)


def _batches(
    backend: Backend, paths: Iterable[Path], decoders: ThreadPoolExecutor, runner: Runner, load: Load
) -> Iterator[tuple[Files, Pixels]]:
    """Yield files and the pictures [N, S, S, 3] of the good ones, N whole batches but for the last."""
    waiting: deque[tuple[Path, Future[Pixels | PictureError]]] = deque()
    source, side = iter(paths), backend.metadata.preprocessing.side

    def refill() -> None:
        for path in islice(source, max(0, runner.size - len(waiting))):
            waiting.append((path, decoders.submit(_load, path, backend, load)))

    refill()
    while waiting:
        size, good = runner.size, 0
        files: Files = []
        pictures = np.empty((size, side, side, 3), dtype=np.uint8)
        # A run of bad pictures is passed on after a while, so that it is reported as it comes.
        while waiting and good < size and len(files) < 3 * size:
            path, future = waiting.popleft()
            picture = future.result()
            del future
            if isinstance(picture, PictureError):
                files.append((path, picture.message))
            else:
                files.append((path, None))
                pictures[good] = picture
                good += 1
            refill()
        yield files, pictures[:good]
        del pictures


def _load(path: Path, backend: Backend, load: Load) -> Pixels | PictureError:
    """Return a file's picture as the model wants it, or the error that says why there is none."""
    try:
        return load(path, backend.metadata.preprocessing)
    except PictureError as error:
        return error


# Probabilities [N, classes], and features [N, F] where they were asked for.
Answers = tuple[Floats, Floats | None]


class Runner:
    """Runs batches of at most `size` pictures; where memory runs out it halves the size and goes on."""

    def __init__(
        self, backend: Backend, size: int, features: Features | None, say: Callable[[str], None] | None
    ) -> None:
        self.backend, self.size, self.features, self.say = backend, size, features, say

    def answers(self, pictures: Pixels) -> Answers:
        """Return the answers for pictures, in parts that fit; OutOfMemory when a single picture does not."""
        parts: list[Answers] = []
        first = 0
        while first < len(pictures):
            try:
                parts.append(self._run(pictures[first : first + self.size]))
                first += len(parts[-1][0])
            except OutOfMemory as error:
                fixed = self.backend.metadata.batch is not None
                if self.size == 1 or fixed:
                    raise
                self.size = max(1, min(self.size, len(pictures) - first) // 2)
                if self.say:
                    self.say(f"{error.message.partition(';')[0]}: going on with batches of {self.size}")
        layers = [layer for _, layer in parts if layer is not None]
        answers = np.concatenate([answer for answer, _ in parts]) if parts else np.empty((0, 0), dtype=np.float32)
        return answers, np.concatenate(layers) if layers else None

    def _run(self, pictures: Pixels) -> Answers:
        """Return the answers of one batch."""
        if self.features is None:
            return self.backend.probabilities(pictures), None
        probabilities, layer = with_features(self.backend).probabilities_and_features(pictures)
        if self.features == "mean":
            return probabilities, layer.mean(axis=1, dtype=np.float64).astype(np.float32)
        return probabilities, layer[:, min(CENTRE, layer.shape[1] - 1)]


def _results(backend: Backend, files: Files, future: Future[Answers], top: int) -> Iterator[Result]:
    """Yield the results of one batch, errors in their places."""
    answers, layers = future.result()
    row, labels = 0, backend.metadata.labels
    for path, error in files:
        if error is not None:
            yield Result(path, (), error)
            continue
        probabilities, features = answers[row], None if layers is None else layers[row]
        row += 1
        check_finite(probabilities, picture=f" for {path}")
        yield Result(path, best_answers(probabilities, labels, top), features=features)


def check_finite(probabilities: Floats, model: str = "the model", picture: str = "") -> None:
    """Raise ModelError, in words that name the model and the picture, when an answer is no number."""
    if not np.isfinite(probabilities).all():
        raise ModelError(f"{model} answers NaN or infinity{picture}; see what alexnet check says of it")


def best_answers(probabilities: Floats, labels: tuple[str, ...], top: int) -> tuple[Answer, ...]:
    """Return the `top` classes of one picture's probabilities [classes], best first, equals in the labels' order."""
    return tuple(Answer(labels[place], float(probabilities[place])) for place in best_places(probabilities, top))


def best_places(probabilities: Floats, top: int) -> list[int]:
    """Return the places of the `top` largest of one picture's probabilities [classes], largest first."""
    places: list[int] = np.argsort(-probabilities, kind="stable")[:top].tolist()
    return places
