"""What a run's network answers on its validation pictures, from one crop and from ten, kept picture by picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.crops import CROPS
from alexnet.export.source import Source
from alexnet.train.data.folder import Part
from alexnet.train.evaluate import centre_probabilities, ten_crop_batches

Count = Callable[[int, int], None]
# Pictures that are hashed at once.
BLOCK = 256


@dataclass(frozen=True)
class Answers:
    """The best five classes of N pictures, best first, and what became of the true one.

    `views` is the number of crops averaged; `truth` int64 [N] the true classes; `best` int64 [N, 5] and `probability`
    float32 [N, 5] the best classes (fewer where there are fewer) and theirs; `of_truth` float32 [N] the true class's.
    """

    views: int
    truth: npt.NDArray[np.int64]
    best: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    of_truth: npt.NDArray[np.float32]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which pictures have their true class first, [N]."""
        return np.asarray(self.best[:, 0] == self.truth)

    @property
    def among_five(self) -> npt.NDArray[np.bool_]:
        """Which pictures have their true class among the five best, [N]."""
        return np.asarray((self.best == self.truth[:, None]).any(axis=1))

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats."""
        return float(-np.log(np.maximum(self.of_truth.astype(np.float64), 1e-30)).mean())

    def confusion(self, classes: int) -> npt.NDArray[np.int64]:
        """Return how many pictures of each true class (row) were taken for each class (column)."""
        counts = np.zeros((classes, classes), dtype=np.int64)
        np.add.at(counts, (self.truth, self.best[:, 0]), 1)
        return counts


def answer(source: Source, part: Part, views: int, batch: int, count: Count) -> Answers:
    """Return a network's answers on every picture of `part` from `views` crops, one or ten; `count` is told as it goes.

    They are those that `alexnet evaluate` counts: the network in test mode, float32, ten softmax outputs averaged
    (section 4.1).
    """
    ask = ten_crop_batches if views == CROPS else centre_probabilities
    batches = ask(source.network, part.pictures, source.mean, divisor=source.recipe.data.divisor, batch=batch)
    best, probability, of_truth, done = [], [], [], 0
    for found in batches:
        highest = found.topk(min(5, found.shape[1]), dim=1)
        truth = part.labels[done : done + len(found)]
        best.append(highest.indices.numpy())
        probability.append(highest.values.numpy())
        of_truth.append(found.numpy()[np.arange(len(found)), truth])
        done += len(found)
        count(done, len(part.labels))
    return Answers(views, part.labels, np.concatenate(best), np.concatenate(probability), np.concatenate(of_truth))


def pictures_sha256(part: Part) -> str:
    """Return the SHA-256 of the pictures as the network is given them: names and labels, then uint8 [N, S, S, 3].

    Prepared data and the folder they were prepared from give the same pixels, but name their files differently.
    """
    digest = hashlib.sha256()
    for name, label in zip(part.names, part.labels.tolist(), strict=True):
        digest.update(f"{label}\t{name}\n".encode("utf-8", "surrogateescape"))
    for first in range(0, len(part.labels), BLOCK):
        digest.update(np.ascontiguousarray(part.pictures[first : first + BLOCK]).tobytes())
    return digest.hexdigest()
