"""The commands `alexnet train` and `alexnet convert`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.run import RUNS, Run


@click.command(
    epilog="""\b
Examples:
  alexnet train --recipe quickstart --data data/quickstart
  alexnet train --recipe quickstart --data my-pictures --set schedule.epochs=5
  alexnet train --resume runs/quickstart-001
  torchrun --nproc-per-node 2 -m alexnet train --columns split --data data/quickstart
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
@click.option(
    "--init-from", type=click.Path(path_type=Path), help="Start from this run's weights, all but the last layer's."
)
@click.option(
    "--columns",
    type=click.Choice(["merged", "split"]),
    default="merged",
    show_default=True,
    help="The columns on one device, or each on a rank of its own under torchrun.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of each rank  [default: all cores, shared]")
def train(
    recipe: str,
    data: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    init_from: Path | None,
    columns: str,
    threads: int | None,
) -> None:
    """Train a network from a recipe; one line an epoch, everything kept in a run directory.

    Ctrl-C finishes the step, saves a checkpoint and says how to go on. Under torchrun the ranks share each batch, and
    with `--columns split` each column of the network has a rank of its own.
    """
    if resume is not None and (overrides or out or init_from):
        raise click.UsageError(
            "--resume takes the run's own recipe and directory: leave out --set, --out, --init-from."
        )
    from alexnet.train.console import Order, train_with_progress

    order = Order(recipe, data, overrides, out, resume, init_from, columns == "split", threads)
    train_with_progress(order, RUNS)


@click.command(
    epilog="""\b
Examples:
  alexnet convert runs/imagenet-001 runs/imagenet-split --columns split
  alexnet convert runs/imagenet-split runs/imagenet-merged --columns merged
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--columns", type=click.Choice(["split", "merged"]), required=True, help="The form of the new checkpoint."
)
def convert(run: Path, out: Path, columns: str) -> None:
    """Copy RUN to the new directory OUT with its checkpoint in one file a column, or in one for the merged network.

    Weights and velocities keep every bit, there and back.
    """
    from alexnet.train.convert import convert_run

    state = convert_run(Run(run), out, columns == "split")
    files = [name for name, _ in state.columns] or [state.weights]
    click.echo(f"{out}: {', '.join(files)}")
