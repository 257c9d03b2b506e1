from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet.recipe import AugmentRecipe, Recipe
from alexnet.run import Run
from alexnet.train.augment import cut_crops, draw_views, draws, render_views
from alexnet.train.checkpoint import load_checkpoint
from alexnet.train.data.statistics import measure_statistics
from alexnet.train.device_views import finish_views
from alexnet.train.session import begin
from tests.train.test_loop import Witness

PICTURES = np.random.default_rng(0).integers(0, 256, (32, 20, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("divisor", [1.0, 1.1])
def test_the_device_finishes_crops_as_the_loader_does_bit_for_bit(divisor: float) -> None:
    statistics = measure_statistics(PICTURES, "pixel")
    views = draw_views(32, 20, 13, statistics, AugmentRecipe(), draws(0, 5))
    expected = render_views(PICTURES, statistics, views, 13, divisor)
    crops = np.empty((32, 13, 13, 3), dtype=np.uint8)
    cut_crops(PICTURES, views, crops)
    found = finish_views(torch.from_numpy(crops), views, torch.from_numpy(statistics.mean), divisor)
    assert found.dtype == torch.float32
    assert views.mirrored.any()
    assert not views.mirrored.all()
    assert np.array_equal(found.numpy(), expected)


def test_training_with_it_is_training_without(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    runs = [Run(tmp_path / name) for name in ("loader", "device")]
    for run, on_device in zip(runs, (False, True), strict=True):
        trainer = begin(tiny_recipe, tiny_data, run, Witness().reporting())
        trainer.batches = replace(trainer.batches, on_device=on_device)
        trainer.carrier = replace(trainer.carrier, finish=on_device)
        trainer.fit()
    loader, device = (load_checkpoint(run).tensors for run in runs)
    assert all(torch.equal(loader[name], device[name]) for name in loader)
