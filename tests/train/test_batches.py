from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.recipe import Recipe
from alexnet.train.augment import cut_crops
from alexnet.train.batches import Batches, batches_for
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics, measure_statistics
from tests.train.watched import AskedTogether

PICTURES = np.random.default_rng(0).integers(0, 256, (45, 72, 72, 3), dtype=np.uint8)
PART = Part(PICTURES, np.arange(45) % 3, [str(number) for number in range(45)])


@pytest.fixture
def statistics() -> Statistics:
    return measure_statistics(PICTURES, "image")


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, sgd=replace(tiny_recipe.sgd, batch=14))


@pytest.mark.parametrize("threads", [1, 3, 5, 32])
def test_many_threads_cut_the_crops_that_the_draws_say(statistics: Statistics, recipe: Recipe, threads: int) -> None:
    batches = Batches(PART, statistics, recipe, on_device=True, threads=threads)
    order, crop = batches.order(2), recipe.network.crop
    found = list(batches.epoch(2, 0))
    assert [len(batch.crops) for batch in found] == [14, 14, 14, 3]
    for batch in found:
        chosen = order[batch.number * 14 : (batch.number + 1) * 14]
        expected = np.empty((len(chosen), crop, crop, 3), dtype=np.uint8)
        cut_crops(PICTURES[chosen], batch.views, expected)
        assert np.array_equal(batch.crops.numpy(), expected)
        assert np.array_equal(batch.labels.numpy(), PART.labels[chosen])


def test_threads_read_every_picture_once_an_epoch_beside_each_other(statistics: Statistics, recipe: Recipe) -> None:
    watched = AskedTogether(PICTURES, 3)
    even = replace(recipe, sgd=replace(recipe.sgd, batch=15))
    batches = Batches(replace(PART, pictures=watched), statistics, even, on_device=True, threads=3)
    assert len(list(batches.epoch(0, 0))) == 3
    assert sorted(watched.asked) == list(range(45))


def test_beside_a_gpu_all_cores_read_bytes(
    statistics: Statistics, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    beside = batches_for(torch.device("cuda"), PART, statistics, recipe)
    assert (beside.on_device, beside.threads) == (True, 12)


def test_on_a_cpu_one_thread_renders_beside_the_network(statistics: Statistics, recipe: Recipe) -> None:
    beside = batches_for(torch.device("cpu"), PART, statistics, recipe)
    assert (beside.on_device, beside.threads) == (False, 1)
