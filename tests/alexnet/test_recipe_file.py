from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from alexnet.errors import RecipeError
from alexnet.recipe import Recipe
from alexnet.recipe_file import (
    load_recipe,
    recipe_from_values,
    recipe_names,
    recipe_to_toml,
    recipe_to_values,
)


def test_the_imagenet_recipe_is_the_default_to_the_letter() -> None:
    assert load_recipe("imagenet") == Recipe()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_survives_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe_from_values(tomllib.loads(recipe_to_toml(recipe))) == recipe
    assert recipe_from_values(recipe_to_values(recipe)) == recipe


def test_overrides_change_fields_of_any_type() -> None:
    recipe = load_recipe(
        "imagenet",
        ["schedule.epochs=3", "network.width=1", "network.lrn_scope=layer", "schedule.drop_after=[1, 2]"],
    )
    assert recipe.schedule.epochs == 3
    assert recipe.network.width == 1.0
    assert recipe.network.lrn_scope == "layer"
    assert recipe.schedule.drop_after == (1, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.widht=2", r"unknown field network.widht \(did you mean width\?\)"),
        ("netwrok.width=2", r"unknown field netwrok \(did you mean network\?\)"),
        ("sgd.batch=true", "sgd.batch is True, expected int"),
        ("sgd.batch=1.5", "sgd.batch is 1.5, expected int"),
        ("sgd.learning_rate='fast'", "sgd.learning_rate is 'fast', expected float"),
        ("network.lrn_scope=colum", r"did you mean column\?"),
        ("network.steps=[['relux']]", r"network.steps\[0\]\[0\] is 'relux' \(did you mean relu\?\)"),
        ("network.crop=300", r"network.crop is 300, expected at most data.picture \(256\)"),
        ("network.lrn_size=4", "network.lrn_size is 4, expected odd"),
        ("network.sizes=[11]", "network.sizes has 1 entries, expected 5"),
        ("start.bias=[0]", "start.bias has 1 entries, expected 8"),
        ("schedule.epochs", "has no '='"),
        ("sgd=3", "sgd is 3, expected a table"),
        ("name.first=1", "name is a value, not a section"),
    ],
)
def test_a_wrong_field_is_refused_by_name(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("imagenet", [override])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'imgnet' \(did you mean imagenet\?\)"):
        load_recipe("imgnet")


def test_a_recipe_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name = 'mine'\n[network]\nwidth = 0.5\n")
    assert load_recipe(str(path)).network.width == 0.5
    path.write_text("name = ")
    with pytest.raises(RecipeError, match=r"mine.toml is not TOML"):
        load_recipe(str(path))
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe(str(tmp_path / "absent.toml"))
