"""Commands that need no stage: `alexnet describe`."""

from __future__ import annotations

import json

import click

from alexnet.architecture import layer_table
from alexnet.describe import describe_text, table_values
from alexnet.recipe_file import load_recipe


@click.command(
    epilog="""\b
Examples:
  alexnet describe                                  the paper's network
  alexnet describe --recipe quickstart
  alexnet describe --set network.width=0.5 --json
"""
)
@click.option("--recipe", default="imagenet", show_default=True, help="A recipe's name, or the path of a .toml file.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def describe(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the layer table of a recipe: output shape, neurons, parameters and multiply-adds (MACs)."""
    architecture = layer_table(load_recipe(recipe, overrides).network)
    if as_json:
        click.echo(json.dumps({"layers": table_values(architecture), "parameters": architecture.parameters}, indent=2))
    else:
        click.echo(describe_text(architecture))
