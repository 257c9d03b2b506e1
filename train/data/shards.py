"""Prepared data as training takes it: the shards of `alexnet.prepared` with the training set's statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alexnet.pictures import Preprocessing
from alexnet.prepared import STATISTICS, open_prepared_part, read_index
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics


@dataclass(frozen=True)
class Prepared:
    """A whole prepared data set."""

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    statistics: Statistics
    parts: dict[str, Part]


def prepared_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of a prepared data set from its index alone; InputError as `open_prepared`."""
    return tuple(read_index(path)["classes"])


def open_prepared(path: Path) -> Prepared:
    """Return a prepared data set; InputError when it is unfinished, of another format, or a shard's size is wrong."""
    index = read_index(path)
    parts = {}
    for part in index["parts"]:
        found = open_prepared_part(path, index, part)
        parts[part] = Part(found.pictures, found.labels, found.names)
    statistics = Statistics.load(path / STATISTICS)
    return Prepared(tuple(index["classes"]), Preprocessing.from_values(index["preprocessing"]), statistics, parts)
