"""Recipes from TOML and back, strictly: an unknown or ill-typed field is refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w

from alexnet.errors import RecipeError
from alexnet.recipe import Recipe


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the toolchain, sorted."""
    folder = resources.files("alexnet.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str, overrides: Iterable[str] = ()) -> Recipe:
    """Return a recipe by the name of one that comes along (`quickstart`) or by the path of a TOML file.

    `overrides` are `section.field=VALUE` with VALUE in TOML, as `--set` takes them. Raises RecipeError
    for an unknown recipe, field or type.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    elif name_or_path in recipe_names():
        text = (resources.files("alexnet.recipes") / f"{name_or_path}.toml").read_text(encoding="utf-8")
    else:
        raise RecipeError(
            f"there is no recipe {name_or_path!r}{_nearest(name_or_path, recipe_names())}; "
            f"the recipes are {', '.join(recipe_names())}, or give the path of a .toml file"
        )
    values = _parse(text, name_or_path)
    for override in overrides:
        _apply(values, override)
    return recipe_from_values(values)


def recipe_from_values(values: dict[str, Any]) -> Recipe:
    """Return the recipe with the fields of a nested dictionary (TOML or JSON); RecipeError as above."""
    recipe = _build(Recipe, values, "")
    assert isinstance(recipe, Recipe)
    return recipe


def recipe_to_values(recipe: Recipe) -> dict[str, Any]:
    """Return every field of the recipe as nested dictionaries of plain JSON values."""
    values = dataclasses.asdict(recipe)
    plain = _plain(values)
    assert isinstance(plain, dict)
    return plain


def recipe_to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML, every field written out: what a run directory keeps."""
    return tomli_w.dumps(recipe_to_values(recipe))


def _plain(value: Any) -> Any:
    """Return `value` with tuples turned into lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _parse(text: str, where: str) -> dict[str, Any]:
    """Return the TOML `text` as a dictionary; RecipeError names `where` it stood."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not TOML: {error}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.field=VALUE` in `values`; a value that is not TOML is taken as a string."""
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override!r} has no '='; write it as --set schedule.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, field = key.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override!r}: {section} is a value, not a section")
    table[field] = value


def _build(kind: type, values: Any, where: str) -> Any:
    """Return the dataclass `kind` from a table, refusing names it does not have."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where} is {values!r}, expected a table")
    hints = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        full = f"{where}.{name}" if where else name
        if name not in hints:
            raise RecipeError(f"unknown field {full}{_nearest(name, hints)}; known: {', '.join(hints)}")
        arguments[name] = _value(hints[name], value, full)
    return kind(**arguments)


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type `hint`, or refuse it; whole numbers serve as floats, nothing else converts."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{where} is {value!r}, expected a list")
        return tuple(_value(get_args(hint)[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is Literal:
        if value not in get_args(hint):
            allowed = [str(choice) for choice in get_args(hint)]
            raise RecipeError(
                f"{where} is {value!r}{_nearest(str(value), allowed)}; expected one of {', '.join(allowed)}"
            )
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, types.GenericAlias) or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"{where} is {value!r}, expected {getattr(hint, '__name__', hint)}")
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean ...?)' for the nearest of `known`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""
