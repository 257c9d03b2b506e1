"""Small random networks whose answers differ from picture to picture, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alexnet.architecture import layer_table
from alexnet.export.source import Source
from alexnet.recipe import DataRecipe, NetworkRecipe, Recipe, StartRecipe
from alexnet.run import Run
from alexnet.train.checkpoint import Checkpoint, TrainingState, save_checkpoint
from alexnet.train.data.statistics import Statistics
from alexnet.train.network import Network
from alexnet.train.samples import Samples, save_samples

SIDE = 80


def random_source(network: NetworkRecipe, seed: int = 0, side: int = SIDE) -> Source:
    """Return a network with weights large enough that its probabilities are far from equal."""
    layers = len(network.kernels) + len(network.hidden) + 1
    start = StartRecipe(spread=(0.01,) * layers, bias=(0.0,) * layers)
    data = DataRecipe(picture=max(side, network.crop))
    recipe = Recipe(name="random", data=data, network=network, start=start)
    module = Network(layer_table(network)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.endswith("bias"):
                value.copy_(torch.rand(value.shape, generator=generator) * 0.2)
            else:
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * (2.5 / fan_in) ** 0.5)
    mean = np.random.default_rng(seed).uniform(90, 160, (recipe.data.picture,) * 2 + (3,)).astype(np.float32)
    labels = tuple(f"thing {place}" for place in range(network.classes))
    return Source(module, recipe, labels, mean, "c" * 64)


def random_pictures(number: int, side: int = SIDE, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Return smooth random pictures uint8 [number, side, side, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (number, 9, 9, 3), dtype=np.uint8)
    place = np.arange(side) * 9 // side
    return coarse[:, place][:, :, place]


TINY = NetworkRecipe(width=1 / 16, crop=64, classes=7)


@pytest.fixture(scope="session")
def tiny_source() -> Source:
    return random_source(TINY)


@pytest.fixture(scope="session")
def pictures() -> npt.NDArray[np.uint8]:
    return random_pictures(9)


def write_run(path: Path, source: Source, pictures: npt.NDArray[np.uint8] | None = None) -> Path:
    """Write a run directory as training leaves it and return its path; nine random pictures are its samples."""
    if pictures is None:
        pictures = random_pictures(9, source.mean.shape[0])
    run, three = Run(path), np.eye(3, dtype=np.float32)
    run.begin(source.recipe, source.labels)
    Statistics(source.mean, three, three[0], three).save(run.statistics_path)
    names = [f"picture {place}" for place in range(len(pictures))]
    save_samples(run, Samples(pictures, names, np.zeros(len(pictures), dtype=np.int64)))
    named = dict(source.network.named_parameters())
    tensors = {f"weights.{name}": value.detach() for name, value in named.items()}
    tensors |= {f"velocity.{name}": torch.zeros_like(value) for name, value in named.items()}
    save_checkpoint(run, Checkpoint(TrainingState(epoch=3), tensors))
    return path
