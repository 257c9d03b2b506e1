"""The command `alexnet inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  alexnet inspect model.plan
  alexnet inspect model.onnx --json
  alexnet inspect runs/quickstart-001
"""
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Say what PATH is, a plan, an ONNX model or a run, without running it.

    A plan is described by its sidecar, and its layers by the engine itself where it can be loaded; a model by its
    metadata; a run by its recipe and its last checkpoint.
    """
    from alexnet.runtime.inspect import described, inspect_path

    facts = inspect_path(path)
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else described(facts))
