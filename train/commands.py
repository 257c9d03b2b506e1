"""The commands `alexnet train`, `alexnet plan` and `alexnet convert`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from alexnet.recipe_options import recipe_options
from alexnet.run import RUNS, Run


@click.command(
    epilog="""\b
Examples:
  alexnet train --recipe quickstart --data data/quickstart
  alexnet train --recipe quickstart --data my-pictures --set schedule.epochs=5
  alexnet train --resume runs/quickstart-001
  torchrun --nproc-per-node 2 -m alexnet train --columns split --data data/quickstart
  alexnet train --recipe imagenet --data s3://bucket/imagenet
"""
)
@recipe_options("quickstart")
@click.option(
    "--data",
    help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, prepared data, or the URL of prepared data"
    "  [default: data/NAME of the recipe]",
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
    data: str | None,
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
  alexnet plan --gpus 16 --network 12.5 --images-per-second 3000
  alexnet plan --gpus 8 --network 25 --latency 10 --measure --json > plan.json
  alexnet plan --gpus 64 --network 25 --measured plan.json --set sgd.batch=1024
"""
)
@click.option("--gpus", type=click.IntRange(min=1, max=65536), required=True, help="Devices there would be.")
@click.option("--network", type=float, required=True, metavar="GB/S", help="Bandwidth of each device, each way.")
@click.option("--latency", type=float, default=20.0, show_default=True, metavar="US", help="Microseconds a message.")
@recipe_options("imagenet")
@click.option("--images-per-second", type=float, metavar="RATE", help="What one device trains, as you measured it.")
@click.option("--measure", is_flag=True, help="Measure a few steps on this machine's device.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="What --measure --json found elsewhere.",
)
@click.option(
    "--pictures",
    type=click.IntRange(min=1),
    default=1_281_167,
    show_default=True,
    help="Pictures of an epoch; the default is ILSVRC-2012's training set.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of --measure  [default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(
    gpus: int,
    network: float,
    latency: float,
    recipe: str,
    overrides: tuple[str, ...],
    images_per_second: float | None,
    measure: bool,
    measured: Path | None,
    pictures: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Predict how fast meshes of data x column devices train a recipe, and recommend one.

    From what one device computes and the bytes that cross, layer by layer; the assumptions are printed with it.
    """
    if (images_per_second is not None) + measure + (measured is not None) != 1:
        raise click.UsageError("Say what one device computes by one of --images-per-second, --measure and --measured.")
    from alexnet.recipe_file import load_recipe
    from alexnet.train.plan import Network, make_plan, plan_text, plan_values, read_compute, stated_compute

    loaded = load_recipe(recipe, overrides)
    if images_per_second is not None:
        compute = stated_compute(images_per_second)
    elif measured is not None:
        compute = read_compute(measured)
    else:
        from alexnet.train.measure import measure_compute

        compute = measure_compute(loaded, threads=threads)
    made = make_plan(loaded, gpus, compute, Network(network * 1e9, latency / 1e6), pictures)
    click.echo(json.dumps(plan_values(made), indent=2) if as_json else plan_text(made))


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
