"""Top-1 and top-5 error of a run or of a model file on a data set's validation part, section 6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import InputError
from alexnet.recipe import DataRecipe
from alexnet.reproduce.device_option import Device
from alexnet.run import Run
from alexnet.train.data.folder import Part
from alexnet.train.data.opened import AnyData, data_classes, open_data, path_of

Count = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """The errors of one way of asking, `views` crops a picture, as shares of `pictures` counted once each."""

    views: int
    pictures: int
    top1: float
    top5: float

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def evaluate(
    source: Path, data: AnyData, *, best: bool, batch: int, count: Count, device: Device = "auto"
) -> list[Evaluation]:
    """Return the errors of a run directory (centre crop and ten crops) or of a model file (ten crops).

    A run's network computes in float32 on `device`. Raises InputError when the classes of the data are not those of
    the model, DeviceError when a GPU is asked for in vain.
    """
    if source.is_dir():
        return _evaluate_run(Run(source), data, best, batch, count, device)
    return [_evaluate_model(source, data, batch, count)]


def validation_part(
    data: AnyData, labels: tuple[str, ...], recipe: DataRecipe, source: Path, count: Count = lambda done, total: None
) -> Part:
    """Return the validation part as the recipe resizes it; InputError names the first class that differs.

    `count` is told as the pictures of a folder are read.
    """
    folder = path_of(data)
    found = data_classes(folder)
    if found != labels:
        differing = next(iter(sorted(set(found) ^ set(labels))), "their order")
        raise InputError(
            f"{folder} has {len(found)} classes, {source} knows {len(labels)}, and they differ ({differing}); "
            "evaluate on data with the classes it was trained on"
        )
    opened = open_data(data, recipe, lambda part: count, ("val",))
    return opened.parts["val"]


def _evaluate_run(run: Run, data: AnyData, best: bool, batch: int, count: Count, device: Device) -> list[Evaluation]:
    """Return the errors of a run's network on centre crops and on ten crops."""
    from alexnet.architecture import layer_table
    from alexnet.reproduce.training_facts import choose_device
    from alexnet.train.checkpoint import load_checkpoint, load_weights
    from alexnet.train.data.statistics import Statistics
    from alexnet.train.device import tune_process
    from alexnet.train.evaluate import centre_probabilities, count_errors, errors_of, ten_crop_batches
    from alexnet.train.mesh import World
    from alexnet.train.network import Network
    from alexnet.train.session import place

    recipe = run.recipe()
    network = Network(layer_table(recipe.network))
    load_weights(network, load_checkpoint(run, best), run)
    found = choose_device(device)
    tune_process(found, "fp32")
    placed = place(network, World(), found).eval()
    mean, divisor = Statistics.load(run.statistics_path).mean, recipe.data.divisor
    part = validation_part(data, run.labels(), recipe.data, run.path)
    number = len(part.labels)
    evaluations = []
    for views, batches in (
        (1, centre_probabilities(placed, part.pictures, mean, divisor=divisor, batch=batch)),
        (10, ten_crop_batches(placed, part.pictures, mean, divisor=divisor, batch=batch)),
    ):
        done = 0

        def counting(batches: Any = batches) -> Any:
            nonlocal done
            for probabilities in batches:
                done += len(probabilities)
                count(done, number)
                yield probabilities

        errors = errors_of(count_errors(counting(), part.labels))
        evaluations.append(Evaluation(views, number, errors.top1, errors.top5))
    return evaluations


def _evaluate_model(path: Path, data: AnyData, batch: int, count: Count) -> Evaluation:
    """Return the ten-crop errors of an ONNX model or a plan; torch is not needed."""
    from alexnet.runtime.backends import open_backend

    backend = open_backend(path)
    metadata = backend.metadata
    part = validation_part(data, metadata.labels, metadata.preprocessing.recipe(), path)
    number, size = len(part.labels), min(batch, backend.largest_batch or batch)
    wrong1 = wrong5 = 0
    for first in range(0, number, size):
        probabilities = backend.probabilities(part.pictures[first : first + size])
        truth = part.labels[first : first + size]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        wrong1 += int((best[:, 0] != truth).sum())
        wrong5 += int((best != truth[:, None]).all(axis=1).sum())
        count(min(first + size, number), number)
    backend.close()
    return Evaluation(metadata.crops, number, wrong1 / number, wrong5 / number)
