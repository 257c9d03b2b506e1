"""The batches of an epoch: their order, their views, and the thread that prepares the next one ahead of the device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from alexnet.recipe import AugmentRecipe, Recipe
from alexnet.train.augment import augment_batch, draws
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics

# Uses of a place's random generator: one number each, so that no two draws share a stream.
ORDER, VIEWS, DROPOUT = 0, 1, 2
# Batches prepared ahead of the one that trains.
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """One batch: number in the epoch, views float32 [n, crop, crop, 3], labels [n], and the seconds waited for it."""

    number: int
    views: npt.NDArray[np.float32]
    labels: torch.Tensor
    waited: float


@dataclass(frozen=True)
class Batches:
    """The batches of a training part under a recipe. Each picture is drawn once an epoch.

    The order is fixed by seed and epoch, the views by seed, epoch and batch, so that any batch of any epoch can be
    made again alone.
    """

    part: Part
    statistics: Statistics
    recipe: Recipe

    @property
    def number(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.part.labels) / self.recipe.sgd.batch)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the order of the pictures in an epoch, a permutation of their indices."""
        return draws(self.recipe.seed, ORDER, epoch).permutation(len(self.part.labels))

    def epoch(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on, the next ones prepared meanwhile."""
        order = self.order(epoch)
        augment = self.augment(epoch)
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead: list[Future[tuple[npt.NDArray[np.float32], torch.Tensor]]] = []
            for number in range(first, self.number):
                while len(ahead) <= AHEAD and number + len(ahead) < self.number:
                    ahead.append(pool.submit(self._prepare, epoch, number + len(ahead), order, augment))
                began = time.perf_counter()
                views, labels = ahead.pop(0).result()
                yield Batch(number, views, labels, time.perf_counter() - began)

    def augment(self, epoch: int) -> AugmentRecipe:
        """Return the augmentation of an epoch (counted from 0): without colour noise once the recipe ends it."""
        augment = self.recipe.augment
        if augment.colour_until and epoch >= augment.colour_until:
            return replace(augment, colour=0.0)
        return augment

    def _prepare(
        self, epoch: int, number: int, order: npt.NDArray[np.int64], augment: AugmentRecipe
    ) -> tuple[npt.NDArray[np.float32], torch.Tensor]:
        """Return the views and labels of one batch."""
        size = self.recipe.sgd.batch
        chosen = order[number * size : (number + 1) * size]
        random = draws(self.recipe.seed, VIEWS, epoch, number)
        views = augment_batch(
            self.part.pictures[chosen],
            self.statistics,
            augment,
            self.recipe.network.crop,
            random,
            self.recipe.data.divisor,
        )
        return views, torch.from_numpy(self.part.labels[chosen])
