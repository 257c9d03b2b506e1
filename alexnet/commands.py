"""Commands that need no stage: `alexnet describe`."""

from __future__ import annotations

import json

import click

from alexnet.architecture import layer_table
from alexnet.describe import describe_text, table_values
from alexnet.recipe_file import load_recipe
from alexnet.recipe_options import recipe_options


@click.command(
    epilog="""\b
Examples:
  alexnet describe                                  the paper's network
  alexnet describe --recipe quickstart
  alexnet describe --set network.width=0.5 --json
"""
)
@recipe_options("imagenet")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def describe(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the layer table of a recipe: output shape, neurons, parameters and multiply-adds (MACs)."""
    architecture = layer_table(load_recipe(recipe, overrides).network)
    if as_json:
        click.echo(json.dumps({"layers": table_values(architecture), "parameters": architecture.parameters}, indent=2))
    else:
        click.echo(describe_text(architecture))
