from __future__ import annotations

from pathlib import Path

from alexnet.recipe import DataRecipe
from alexnet.train.data.opened import open_data


def test_open_data_are_read_again_only_for_another_recipe_or_more_parts(tiny_data: Path) -> None:
    asked = DataRecipe(picture=24)
    opened = open_data(tiny_data, asked, lambda part: lambda done, total: None)
    assert open_data(opened, asked, lambda part: lambda done, total: None, ("val",)) is opened
    smaller = open_data(opened, DataRecipe(picture=16), lambda part: lambda done, total: None, ("val",))
    assert smaller.parts["val"].pictures[:1].shape == (1, 16, 16, 3)
    assert smaller.parts["val"].names == opened.parts["val"].names
    more = open_data(smaller, smaller.recipe, lambda part: lambda done, total: None)
    assert (more.path, sorted(more.parts)) == (tiny_data, ["train", "val"])
