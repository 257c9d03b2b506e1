"""The pictures whose last hidden layer is nearest to another's (section 6.1, Figure 4 right), held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from alexnet.errors import InputError
from alexnet.runtime.backends import Backend, Floats
from alexnet.runtime.classify import classify

# The most pictures held: 4,096 features of each take 16 KB.
MOST = 20_000
# Rows measured at once: their differences stay in the processor's cache.
BLOCK = 256
Count = Callable[[int, int | None], None]


def nearest_rows(features: Floats, wanted: Floats, number: int) -> list[tuple[int, float]]:
    """Return the rows of features [N, F] nearest to `wanted` [F], nearest first, with their Euclidean distances.

    Rows at the same distance keep their order. `features` may be a file mapped into memory: it is read in blocks.
    """
    number = min(number, len(features))
    if not number:
        return []
    near = np.concatenate([_squares(features[at : at + BLOCK], wanted) for at in range(0, len(features), BLOCK)])
    # Float32 tells which rows may be among the nearest, float64 their order; differences cancel less than products.
    rows = np.flatnonzero(~(near > np.partition(near, number - 1)[number - 1] * (1 + 1e-4)))
    distances = np.sqrt(np.square(features[rows] - wanted.astype(np.float64)).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:number]
    return [(int(rows[place]), float(distances[place])) for place in order]


def _squares(block: Floats, wanted: Floats) -> Floats:
    """Return the squared distances [N] of rows [N, F] to `wanted` [F], in float32."""
    difference = block - wanted
    squares: Floats = np.einsum("ij,ij->i", difference, difference)
    return squares


@dataclass(frozen=True)
class Neighbours:
    """Pictures with their features float32 [N, F], the mean over the crops, and their best class."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    features: Floats

    def nearest(self, features: Floats, number: int) -> list[tuple[int, float]]:
        """Return the places of the pictures nearest to features [F], nearest first, with their Euclidean distances."""
        return nearest_rows(self.features, features, number)


def index_pictures(backend: Backend, paths: Iterable[Path], say: Callable[[str], None], count: Count) -> Neighbours:
    """Return the pictures in `paths` with their features; one that cannot be decoded is reported and left out.

    At most MOST pictures are taken, and the rest is reported. Raises InputError when there are none.
    """
    source = iter(paths)
    found: list[tuple[Path, str]] = []
    features = []
    for done, result in enumerate(classify(backend, islice(source, MOST), top=1, features="mean", say=say), start=1):
        count(done, None)
        if result.error is not None:
            say(f"skipped: {result.error}")
            continue
        assert result.features is not None
        found.append((result.path, result.answers[0].label))
        features.append(result.features)
    if next(source, None) is not None:
        say(f"only the first {MOST:,} pictures are taken as neighbours; the others are left out")
    if not found:
        raise InputError("none of the pictures could be decoded; give others, or none to do without neighbours")
    names, labels = zip(*found, strict=True)
    return Neighbours(names, labels, np.stack(features))
