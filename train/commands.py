"""The command `alexnet train`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.run import RUNS


@click.command(
    epilog="""\b
Examples:
  alexnet train --recipe quickstart --data data/quickstart
  alexnet train --recipe quickstart --data my-pictures --set schedule.epochs=5
  alexnet train --resume runs/quickstart-001
"""
)
@click.option("--recipe", default="quickstart", show_default=True, help="A recipe's name, or the path of a .toml file.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg  [default: data/NAME of the recipe]",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe; repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory  [default: the next free runs/NAME-001]")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run in this directory.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads  [default: all cores]")
def train(
    recipe: str,
    data: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    threads: int | None,
) -> None:
    """Train a network from a recipe; one line an epoch, everything kept in a run directory.

    Ctrl-C finishes the step, saves a checkpoint and says how to go on.
    """
    if resume is not None and (overrides or out):
        raise click.UsageError("--resume takes the run's own recipe and directory: leave out --set and --out.")
    from alexnet.train.console import train_with_progress

    train_with_progress(recipe, data, overrides, out, resume, RUNS, threads)
