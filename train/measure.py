"""Seconds of a training step, measured in the loop of `alexnet train` itself on pictures that are there already."""

from __future__ import annotations

import contextlib
import os
import statistics as averages
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from alexnet.architecture import layer_table
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import TrainingState
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.loop import Trainer
from alexnet.train.mesh import World
from alexnet.train.network import Network, start_weights
from alexnet.train.plan import Compute, check_classes
from alexnet.train.session import place

# Steps before the clock runs: memory is taken, threads are started, kernels are chosen.
WARM = 2


class _Enough(Exception):
    """Ends the loop once the steps are measured; nothing has been written."""


def step_seconds(recipe: Recipe, world: World | None = None, steps: int = 5) -> float:
    """Return the median seconds of a step of the recipe's batch; every rank of a world calls it alike.

    The pictures are noise, drawn once; views, columns, gradients and update are those of training.
    """
    world = world or World()
    batch, side = recipe.sgd.batch, recipe.data.picture
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    number = batch * (WARM + steps)
    part = Part(
        np.broadcast_to(picture, (number, side, side, 3)),
        random.integers(0, recipe.network.classes, number),
        ["noise"] * number,
    )
    three = np.eye(3, dtype=np.float32)
    # A mean near the pictures': what the network sees then is centred, and the loss stays finite.
    shown = Statistics(np.full((side, side, 3), 127.5, dtype=np.float32), three, np.ones(3, dtype=np.float32), three)
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    ended: list[float] = []

    def on_batch(batch: int, batches: int, loss: float) -> None:
        ended.append(time.perf_counter())
        if len(ended) == WARM + steps:
            raise _Enough

    trainer = Trainer(
        # Never written: the loop ends before its first checkpoint.
        Run(Path("measured")),
        recipe,
        place(network, world),
        part,
        part,
        shown,
        # So low that nothing is learned from noise and no loss leaps.
        TrainingState(learning_rate=1e-6),
        lambda: False,
        on_batch,
        lambda report: None,
        lambda text: None,
        world,
    )
    with contextlib.suppress(_Enough):
        trainer.fit()
    return averages.median(after - before for before, after in zip(ended[WARM - 1 :], ended[WARM:], strict=False))


def measure_compute(recipe: Recipe, steps: int = 5, threads: int | None = None) -> Compute:
    """Return this device's compute: a step of the recipe's batch and one of a quarter of it, as a line through both.

    On a CPU with `threads`, all cores unless given. Raises RecipeError when the recipe leaves its classes to the data.
    """
    check_classes(recipe)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    batch = recipe.sgd.batch
    small = max(1, batch // 4)
    whole = step_seconds(recipe, steps=steps)
    if small == batch:
        return Compute(whole / batch)
    part = step_seconds(replace(recipe, sgd=replace(recipe.sgd, batch=small)), steps=steps)
    return fit_line(small, part, batch, whole)


def fit_line(small: int, part: float, batch: int, whole: float) -> Compute:
    """Return the line through two measured steps: `part` seconds for `small` pictures, `whole` for `batch`.

    Neither time is negative: a step of few pictures that takes less than its share counts as its share.
    """
    picture = min(max(0.0, (whole - part) / (batch - small)), whole / batch)
    return Compute(picture, max(0.0, whole - batch * picture))
