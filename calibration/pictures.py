"""The pictures of a calibration: labelled parts of prepared data or of class folders, a balanced choice, its manifest.

Random data are never used: a threshold is worth what the pictures behind it are like those that will be classified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alexnet.class_folders import folder_classes
from alexnet.errors import InputError
from alexnet.files import sha256_of
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.prepared import check_preprocessing, is_prepared, open_prepared_part, read_index

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
# With fewer pictures than this the tails of the activations are not seen often enough to place a threshold.
ENOUGH = 100


@dataclass(frozen=True)
class PicturePart:
    """One part of a data set: labels int64 [N] and names, and what reads pictures uint8 [n, S, S, 3] by their places.

    `digest` gives the SHA-256 of the file that a picture was made from.
    """

    labels: Labels
    names: list[str]
    read: Callable[[Sequence[int]], Pixels]
    digest: Callable[[int], str]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)


@dataclass(frozen=True)
class DataParts:
    """The part that calibrates and the part that measures."""

    train: PicturePart
    val: PicturePart


class Classifier(Protocol):
    """What is asked of a model to open data for it: its metadata, or a run, has it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the model's outputs."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model takes its pictures."""
        ...


def open_parts(data: Path, metadata: Classifier, model: Path) -> DataParts:
    """Return both parts of prepared data or of a folder of pictures, as a model takes them; nothing is decoded yet.

    Raises InputError when the data have other classes than the model, or are prepared for another size.
    """
    if is_prepared(data):
        index = read_index(data)
        classes = tuple(index["classes"])
        check_preprocessing(data, index, metadata.preprocessing, model)
        parts = [_prepared(data, index, part) for part in ("train", "val")]
    else:
        classes = folder_classes(data)
        parts = [_folder(data, part, classes, metadata.preprocessing) for part in ("train", "val")]
    if classes != metadata.labels:
        differing = next(iter(sorted(set(classes) ^ set(metadata.labels))), "their order")
        raise InputError(
            f"{data} has {len(classes)} classes, {model} knows {len(metadata.labels)}, and they differ ({differing}); "
            "give data with the classes it was trained on"
        )
    return DataParts(*parts)


def _prepared(data: Path, index: dict[str, Any], name: str) -> PicturePart:
    """Return a part of prepared data."""
    part = open_prepared_part(data, index, name)
    return PicturePart(part.labels, part.names, lambda places: part.pictures[list(places)], part.digests.__getitem__)


def _folder(root: Path, name: str, classes: tuple[str, ...], preprocessing: Preprocessing) -> PicturePart:
    """Return a part of a folder of pictures, in sorted order of class and name."""
    files = [(path, label) for label, kind in enumerate(classes) for path in find_pictures([root / name / kind])]
    return PicturePart(
        np.array([label for _, label in files], dtype=np.int64),
        [path.relative_to(root).as_posix() for path, _ in files],
        lambda places: np.stack([load_picture(files[place][0], preprocessing) for place in places]),
        lambda place: sha256_of(files[place][0]),
    )


def balanced(labels: Labels, number: int, seed: int) -> list[int]:
    """Return the places of at most `number` pictures, drawn in turn from each class at random, in ascending order.

    A class that has run out is passed over, so the others make up for it; no picture is taken twice.
    """
    generator = np.random.default_rng(seed)
    queues = [generator.permutation(np.flatnonzero(labels == label)).tolist() for label in np.unique(labels)]
    chosen: list[int] = []
    while len(chosen) < number and any(queues):
        for place in generator.permutation(len(queues)):
            if queues[place] and len(chosen) < number:
                chosen.append(queues[place].pop())
    return sorted(chosen)


@dataclass(frozen=True)
class Chosen:
    """Calibration pictures: their places in the training part, with names, labels and digests, and warnings on them."""

    places: list[int]
    entries: list[dict[str, str]]
    warnings: tuple[str, ...]


def choose(parts: DataParts, labels: Sequence[str], number: int, seed: int) -> Chosen:
    """Draw `number` pictures of the training part, balanced by class, and say what is doubtful about them."""
    places = balanced(parts.train.labels, number, seed)
    entries = [
        {
            "name": parts.train.names[place],
            "class": labels[int(parts.train.labels[place])],
            "sha256": parts.train.digest(place),
        }
        for place in places
    ]
    held_out = {parts.val.digest(place) for place in range(len(parts.val))}
    shared = [entry["name"] for entry in entries if entry["sha256"] in held_out]
    warnings = []
    if len(places) < ENOUGH:
        warnings.append(
            f"{len(places)} pictures calibrate, fewer than {ENOUGH}: rare large activations may not be among them, and "
            "thresholds then cut off what other pictures need; give more with --pictures or a larger training part"
        )
    if shared:
        warnings.append(
            f"{len(shared)} of the calibration pictures are in the validation part too, first {shared[0]}: the "
            "accuracy measured there is then better than on new pictures; find them with: alexnet data check SOURCE"
        )
    return Chosen(places, entries, tuple(warnings))
