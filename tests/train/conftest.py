"""A data folder and a recipe small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.recipe import Recipe
from alexnet.recipe_file import load_recipe

TINY = (
    "name=tiny",
    "network.width=0.0625",
    "network.crop=64",
    "network.classes=0",
    "data.picture=72",
    "sgd.batch=8",
    "schedule.epochs=2",
    "start.spread=[0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01]",
)


@pytest.fixture
def tiny_recipe() -> Recipe:
    return load_recipe("imagenet", TINY)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 7 + 3 pictures each: stripes across, stripes down, noise."""
    root = tmp_path_factory.mktemp("tiny-data")
    random = np.random.default_rng(0)
    for part, number in (("train", 7), ("val", 3)):
        for label, name in enumerate(("across", "down", "noise")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
                if label == 0:
                    pixels[::4] = 255
                elif label == 1:
                    pixels[:, ::4] = 255
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root
