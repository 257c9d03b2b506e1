"""The batches of an epoch: their order, their views, and the thread that prepares the next one ahead of the device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from alexnet.recipe import AugmentRecipe, Recipe
from alexnet.train.augment import Views, cut_crops, draw_views, draws, render_views
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.mesh import World
from alexnet.train.readers import done_ahead, reader_threads

# Uses of a place's random generator: one number each, so that no two draws share a stream.
ORDER, VIEWS, DROPOUT = 0, 1, 2
# Batches prepared ahead of the one that trains.
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """One batch: number in the epoch, crops [n, crop, crop, 3], labels [n], and the seconds waited for it.

    `crops` are finished views in float32, or bytes that the device finishes by `views`. `pictures` counts those of the
    whole batch, of which this rank has its share.
    """

    number: int
    crops: torch.Tensor
    views: Views
    labels: torch.Tensor
    pictures: int
    waited: float


@dataclass(frozen=True)
class Batches:
    """The batches of a training part under a recipe. Each picture is drawn once an epoch.

    The order is fixed by seed and epoch, the views by seed, epoch and batch, so that any batch of any epoch can be
    made again alone. Several data ranks draw the same views and render their own share of each batch. `on_device`
    leaves the arithmetic to the device: crops stay bytes, in pinned memory where there is a GPU, and `threads` read
    (of JPEG shards: decode) a part of each batch each.
    """

    part: Part
    statistics: Statistics
    recipe: Recipe
    world: World = field(default_factory=World)
    on_device: bool = False
    threads: int = 1

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
        with ThreadPoolExecutor(max_workers=1) as pool, ThreadPoolExecutor(self.threads) as readers:
            calls = (
                partial(self._prepare, epoch, number, order, augment, self._room(number), readers)
                for number in range(first, self.number)
            )
            prepared = done_ahead(pool, calls, AHEAD)
            for number in range(first, self.number):
                began = time.perf_counter()
                crops, views, labels = next(prepared)
                pictures = len(order[number * self.recipe.sgd.batch : (number + 1) * self.recipe.sgd.batch])
                yield Batch(number, crops, views, labels, pictures, time.perf_counter() - began)

    def augment(self, epoch: int) -> AugmentRecipe:
        """Return the augmentation of an epoch (counted from 0): without colour noise once the recipe ends it."""
        augment = self.recipe.augment
        if augment.colour_until and epoch >= augment.colour_until:
            return replace(augment, colour=0.0)
        return augment

    def _prepare(
        self,
        epoch: int,
        number: int,
        order: npt.NDArray[np.int64],
        augment: AugmentRecipe,
        crops: torch.Tensor,
        readers: ThreadPoolExecutor,
    ) -> tuple[torch.Tensor, Views, torch.Tensor]:
        """Return the crops, views and labels of this rank's share of one batch, the crops written into `crops`."""
        size, crop = self.recipe.sgd.batch, self.recipe.network.crop
        chosen = order[number * size : (number + 1) * size]
        random = draws(self.recipe.seed, VIEWS, epoch, number)
        side = self.statistics.mean.shape[0]
        views = draw_views(len(chosen), side, crop, self.statistics, augment, random)
        share = self.world.share(len(chosen))
        mine, seen = chosen[share], views.part(share)
        labels = torch.from_numpy(self.part.labels[mine])
        if self.on_device:
            self._cut(mine, seen, crops, readers)
        else:
            pictures = [self.part.pictures[place] for place in mine.tolist()]
            render_views(pictures, self.statistics, seen, crop, self.recipe.data.divisor, crops.numpy())
        return crops, seen, labels

    def _room(self, number: int) -> torch.Tensor:
        """Return where the crops of this rank's share of a batch go, [n, crop, crop, 3].

        The thread that trains takes it: what it leaves is found again there and not by the threads that write.
        """
        share = self.world.share(min(self.recipe.sgd.batch, len(self.part.labels) - number * self.recipe.sgd.batch))
        shape = (share.stop - share.start, self.recipe.network.crop, self.recipe.network.crop, 3)
        if self.on_device:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        # numpy, where torch does not, asks the kernel for large pages.
        return torch.from_numpy(np.empty(shape, dtype=np.float32))

    def _cut(
        self, chosen: npt.NDArray[np.int64], views: Views, crops: torch.Tensor, readers: ThreadPoolExecutor
    ) -> None:
        """Write the crops of the chosen pictures as bytes, every reader a part of them."""
        target = crops.numpy()
        size = math.ceil(len(chosen) / self.threads) or 1

        def read(first: int) -> None:
            part = slice(first, first + size)
            cut_crops([self.part.pictures[place] for place in chosen[part].tolist()], views.part(part), target[part])

        list(readers.map(read, range(0, len(chosen), size)))


def batches_for(
    device: torch.device, part: Part, statistics: Statistics, recipe: Recipe, world: World | None = None
) -> Batches:
    """Return the batches that a network on `device` trains on: rendered for a CPU, bytes for a GPU."""
    return Batches(part, statistics, recipe, world or World(), device.type != "cpu", reader_threads(device))
