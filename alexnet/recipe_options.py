"""The options that choose a recipe, the same for every command that takes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def recipe_options(default: str) -> Callable[[Command], Command]:
    """Give a command --recipe and --set; it receives `recipe`, a name or a path as text, and `overrides`."""

    def given(command: Command) -> Command:
        command = click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Change a field of the recipe; repeatable.",
        )(command)
        return click.option(
            "--recipe", default=default, show_default=True, help="A recipe's name, or the path of a .toml file."
        )(command)

    return given
