"""`alexnet import`: foreign weights into a run directory, which export, evaluate and train take like any other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from alexnet.errors import InputError, ModelError
from alexnet.export.caffe import read_caffe
from alexnet.export.foreign import ForeignNet, Kind
from alexnet.export.torchvision import is_safetensors, is_torch, read_torchvision
from alexnet.files import atomic_folder
from alexnet.labels import read_labels
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.recipe import AugmentRecipe, Recipe
from alexnet.run import RUNS, Run, new_run
from alexnet.train.checkpoint import Checkpoint, TrainingState, save_checkpoint
from alexnet.train.data.statistics import Statistics
from alexnet.train.samples import Samples, save_samples, spread_indices


@dataclass(frozen=True)
class Imported:
    """What an import made: the run, its recipe, and the number of pictures it keeps for the proof of parity."""

    run: Run
    recipe: Recipe
    pictures: int


def read_foreign(path: Path, kind: Kind | None, mean: Path | None) -> ForeignNet:
    """Return the net in a file of Caffe's or torchvision's, whose kind is asked for only where it cannot be seen.

    Raises ModelError for a file that is neither, or not of the kind, and InputError for a wrong path or mean.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a .caffemodel, or torchvision's weights as .safetensors or .pth")
    try:
        theirs = is_safetensors(path) or is_torch(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; mend its permissions") from None
    if theirs and kind not in (None, "torchvision"):
        raise ModelError(f"{path} is torch's or safetensors, not Caffe's, and {kind} was asked for; leave --kind out")
    if not theirs and kind == "torchvision":
        raise ModelError(
            f"{path} is neither safetensors nor torch's .pth, and torchvision was asked for; "
            "leave --kind out for a .caffemodel, or download it again"
        )
    if theirs and mean is not None:
        raise InputError(f"torchvision's net has a mean of its own, and --mean {mean} was given; leave it out")
    return read_torchvision(path) if theirs else read_caffe(path, kind, mean)


def import_weights(
    weights: Path,
    out: Path | None,
    *,
    kind: Kind | None,
    mean: Path | None,
    labels: Path | None,
    pictures: Path | None,
) -> Imported:
    """Make the run directory `out`, or the next free one of the kind under runs/, of foreign weights: whole or not.

    `labels` is a file of class names, one a line or JSON; without it they are numbered. Up to 32 of `pictures` are kept
    for the proof of parity. Raises InputError when `out` exists, or as `read_foreign`.
    """
    if out is not None and out.exists():
        raise InputError(f"{out} exists already; give the name of a new run directory")
    net = read_foreign(weights, kind, mean)
    classes = net.network.classes
    names = read_labels(labels) if labels else tuple(f"class {place}" for place in range(classes))
    if len(names) != classes:
        raise InputError(f"{labels} names {len(names)} classes, {weights} has {classes}; give the labels of that net")
    recipe = Recipe(
        name=net.origin.kind,
        network=net.network,
        data=net.data,
        # The spread of the training set's colours is not published, and none of these nets was trained with the noise.
        augment=AugmentRecipe(colour=0.0),
        sgd=net.sgd,
        origin=net.origin,
    )
    samples = _samples(pictures, recipe) if pictures else None
    out = out or new_run(RUNS, recipe.name).path
    with atomic_folder(out) as folder:
        run = Run(folder)
        run.begin(recipe, names)
        none = np.zeros((3, 3), dtype=np.float32)
        Statistics(net.mean, none, none[0], np.eye(3, dtype=np.float32)).save(run.statistics_path)
        if samples is not None:
            save_samples(run, samples)
        # Arrays that are views of the file's bytes are copied: torch wants to be able to write.
        arrays = {name: np.require(value, requirements="W") for name, value in net.weights.items()}
        tensors = {f"weights.{name}": torch.from_numpy(value) for name, value in arrays.items()}
        save_checkpoint(run, Checkpoint(TrainingState(learning_rate=recipe.sgd.learning_rate), tensors))
    return Imported(Run(out), recipe, len(samples.names) if samples is not None else 0)


def _samples(folder: Path, recipe: Recipe) -> Samples:
    """Return pictures spread over a folder, prepared as the recipe says, for the proof of parity."""
    files = list(find_pictures([folder]))
    files = [files[place] for place in spread_indices(len(files))]
    preprocessing = Preprocessing.of(recipe.data)
    pictures = np.stack([load_picture(file, preprocessing) for file in files])
    names = [file.relative_to(folder).as_posix() if folder.is_dir() else file.name for file in files]
    return Samples(pictures, names, np.zeros(len(files), dtype=np.int64))
