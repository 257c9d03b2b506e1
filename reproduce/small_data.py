"""The pictures of the experiments on small networks, Figure 1 and section 3.3: CIFAR-10's, or any others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.errors import InputError
from alexnet.pictures import Preprocessing
from alexnet.prepared import is_prepared, read_index
from alexnet.progress import Count
from alexnet.recipe import DataRecipe
from alexnet.reproduce.training_facts import digest_of_parts
from alexnet.train.augment import draws
from alexnet.train.data.folder import Part
from alexnet.train.data.opened import open_data
from alexnet.train.data.statistics import Statistics, measure_statistics

# The random stream that chooses training pictures; `alexnet.train.batches` uses 0 to 2.
SUBSET = 3
# Side in pixels that pictures of a folder that is not prepared are brought to: CIFAR-10's.
SIDE = 32


@dataclass(frozen=True)
class SmallData:
    """The training pictures taken, all held-out ones, and the digest of the whole data set.

    `statistics` are those of all training pictures, `recipe` how they were prepared.
    """

    recipe: DataRecipe
    classes: int
    train: Part
    val: Part
    statistics: Statistics
    digest: str


def open_small_data(path: Path, limit: int | None, seed: int, loading: Callable[[str], Count]) -> SmallData:
    """Return prepared data at the size it has, or a folder of pictures at 32 pixels, told as they load.

    At most `limit` training pictures are taken, drawn by the seed. Raises InputError when a part is empty.
    """
    recipe = DataRecipe(picture=SIDE)
    if is_prepared(path):
        recipe = Preprocessing.from_values(read_index(path)["preprocessing"]).recipe()
    opened = open_data(path, recipe, loading)
    train, val = opened.parts["train"], opened.parts["val"]
    if not len(train.labels) or not len(val.labels):
        raise InputError(f"{path} holds no pictures in train/ or none in val/; the experiment needs both")
    statistics = opened.statistics or measure_statistics(train.pictures, recipe.mean)
    digest = digest_of_parts(path, (train, val))
    if limit is not None and limit < len(train.labels):
        chosen = np.sort(draws(seed, SUBSET).permutation(len(train.labels))[:limit])
        train = Part(train.pictures[chosen], train.labels[chosen], [train.names[place] for place in chosen])
    return SmallData(recipe, len(opened.classes), train, val, statistics, digest)
