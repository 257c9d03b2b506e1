"""Data as it is given: a prepared folder, mapped into memory, or a folder of pictures, read into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alexnet.class_folders import folder_classes
from alexnet.errors import InputError
from alexnet.pictures import Preprocessing
from alexnet.prepared import is_prepared
from alexnet.recipe import DataRecipe
from alexnet.train.data.folder import Part, load_part
from alexnet.train.data.shards import open_prepared, prepared_classes
from alexnet.train.data.statistics import Statistics

Count = Callable[[int, int], None]


@dataclass(frozen=True)
class Data:
    """A data set as training and evaluation take it: where it lies, and its pictures as `recipe` asks for them.

    `statistics` is None where they have to be measured.
    """

    path: Path
    recipe: DataRecipe
    classes: tuple[str, ...]
    parts: dict[str, Part]
    statistics: Statistics | None


# Data by where they lie, or open already: who asks one data set several times reads it once.
AnyData = Path | Data


def path_of(data: AnyData) -> Path:
    """Return where data lie, opened already or not."""
    return data.path if isinstance(data, Data) else data


def data_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of prepared data or of a folder of pictures."""
    return prepared_classes(path) if is_prepared(path) else folder_classes(path)


def _prepared_otherwise(path: Path, found: Preprocessing, asked: Preprocessing) -> InputError:
    """Return the error for prepared pictures of another size, or resized by another rule."""
    if found.side == asked.side:
        return InputError(
            f"{path} is prepared by {found.resize!r}, {asked.resize!r} is asked for; "
            f"prepare it again with --resize {asked.rule}, or add --set data.resize={found.rule}"
        )
    return InputError(
        f"{path} is prepared at {found.side} pixels, {asked.side} are asked for; "
        f"prepare it again with --size {asked.side}, or add --set data.picture={found.side}"
    )


def open_data(
    data: AnyData, recipe: DataRecipe, loading: Callable[[str], Count], parts: tuple[str, ...] = ("train", "val")
) -> Data:
    """Return prepared data, or a folder of pictures read into memory, told as they load; only the `parts` asked for.

    Data that are open already, as the recipe asks and with these parts, are returned as they are. Raises InputError
    when prepared pictures have another size than the recipe's, or were resized by another rule.
    """
    if isinstance(data, Data) and data.recipe == recipe and set(parts) <= data.parts.keys():
        return data
    path, preprocessing = path_of(data), Preprocessing.of(recipe)
    if is_prepared(path):
        prepared = open_prepared(path)
        if prepared.preprocessing != preprocessing:
            raise _prepared_otherwise(path, prepared.preprocessing, preprocessing)
        statistics = prepared.statistics.with_mean(recipe.mean)
        return Data(path, recipe, prepared.classes, {part: prepared.parts[part] for part in parts}, statistics)
    loaded = {part: load_part(path, part, preprocessing, loading(part)) for part in parts}
    return Data(path, recipe, folder_classes(path), loaded, None)
