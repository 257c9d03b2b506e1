"""The command `alexnet evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  alexnet evaluate runs/quickstart-001 data/quickstart
  alexnet evaluate model.onnx data/quickstart
  alexnet evaluate runs/quickstart-001 data/quickstart --best --json
"""
)
@click.argument("source", metavar="RUN_OR_MODEL", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--best", is_flag=True, help="A run's weights with the lowest validation error instead of the last ones.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures in a batch.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(source: Path, data: Path, best: bool, batch: int, as_json: bool) -> None:
    """Print top-1 and top-5 error of a run or a model on the validation part of DATA, every picture counted once.

    A run is asked with the centre crop and with ten crops; a model file answers ten crops.
    """
    from alexnet.progress import counted
    from alexnet.reproduce.evaluate import evaluate as evaluate_source

    with counted("evaluating") as count:
        found = evaluate_source(source, data, best=best, batch=batch, count=count)
    if as_json:
        click.echo(json.dumps([evaluation.to_values() for evaluation in found], indent=2))
        return
    click.echo(f"{source} on the {found[0].pictures:,} validation pictures of {data}")
    for evaluation in found:
        views = "centre crop" if evaluation.views == 1 else f"{evaluation.views} crops"
        click.echo(f"  {views:<12} top-1 error {evaluation.top1:6.2%}   top-5 error {evaluation.top5:6.2%}")
