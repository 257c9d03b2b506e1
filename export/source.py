"""What is exported: trained networks from their runs, and the pictures for their proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.architecture import layer_table
from alexnet.errors import InputError
from alexnet.export.layers import GraphSource
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import load_checkpoint, load_weights
from alexnet.train.data.statistics import Statistics
from alexnet.train.network import Network, numpy_weights
from alexnet.train.samples import load_samples

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """A network to export: what it was trained as, its mean, its labels, and the digest of its weights."""

    network: Network
    recipe: Recipe
    labels: tuple[str, ...]
    mean: npt.NDArray[np.float32]
    checkpoint_sha256: str

    def numbers(self) -> GraphSource:
        """Return the network as the graph's builder takes it, free of torch."""
        weights = numpy_weights(self.network)
        return GraphSource(self.network.architecture, weights, self.mean, self.recipe.data.divisor)


def source_from_run(run: Run, best: bool = False) -> Source:
    """Return what a run trained last, or its `best` by validation error; InputError or TrainingError when not whole."""
    recipe = run.recipe()
    statistics = Statistics.load(run.statistics_path)
    side = recipe.data.picture
    if statistics.mean.shape != (side, side, 3):
        raise InputError(
            f"{run.statistics_path} holds a mean of {statistics.mean.shape}, the recipe expects "
            f"{(side, side, 3)}; train again"
        )
    labels, network = run.labels(), Network(layer_table(recipe.network))
    if len(labels) != network.architecture.classes:
        raise InputError(
            f"{run.labels_path} names {len(labels)} classes, the recipe has {network.architecture.classes}; "
            "restore the file or train again"
        )
    # Weights and digest from one reading: training may write its next checkpoint meanwhile.
    checkpoint = load_checkpoint(run, best)
    load_weights(network, checkpoint, run)
    return Source(network.eval(), recipe, labels, statistics.mean, checkpoint.state.sha256)


def pictures_for_proof(run: Run, folder: Path | None) -> tuple[Pixels, list[str]]:
    """Return pictures uint8 [P, S, S, 3] and their names: the run's own samples, or those under `folder`.

    Names are relative to the folder: they travel with the model, and the machine's own paths should not.
    """
    if folder is None:
        samples = load_samples(run)
        return samples.pictures, samples.names
    files = list(find_pictures([folder]))
    preprocessing = Preprocessing.of(run.recipe().data)
    names = [file.relative_to(folder).as_posix() if folder.is_dir() else file.name for file in files]
    return np.stack([load_picture(file, preprocessing) for file in files]), names
