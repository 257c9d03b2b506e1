"""The command `alexnet reproduce`: the paper's figures and tables, one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alexnet.recipe_options import recipe_options
from alexnet.reproduce.device_option import device_option

if TYPE_CHECKING:
    from alexnet.reproduce.page import Findings

_MODEL = click.argument("source", metavar="RUN_OR_MODEL", type=click.Path(path_type=Path))
_DATA = click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Prepared data, or a folder of train/ and val/."
)
_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the pictures drawn.")


def _out(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --out."""
    option = click.option(
        "-o",
        "--out",
        type=click.Path(path_type=Path),
        help="Folder for the results  [default: reproduce/ at the first]",
    )
    return option(command)


@click.group(
    epilog="""\b
Examples:
  alexnet reproduce kernels runs/quickstart-001
  alexnet reproduce predictions model.onnx --data data/quickstart
  alexnet reproduce neighbours model.onnx --data data/quickstart
  alexnet reproduce table2 runs/quickstart-00? --data data/quickstart
  alexnet reproduce relu --data data/cifar10
  alexnet reproduce lrn --data data/cifar10
  alexnet reproduce ablations --data data/quickstart
"""
)
def reproduce() -> None:
    """Make one of the paper's figures or tables, from given networks or from ones that it trains.

    Each prints the paper's statement beside what was found, and writes NAME.json, NAME.png and NAME.html.
    """


@reproduce.command(epilog="\b\nExample:\n  alexnet reproduce kernels runs/quickstart-001 -o figures/")
@_MODEL
@_out
def kernels(source: Path, out: Path | None) -> None:
    """Figure 3: the first layer's kernels, column by column, and how much of each column is colour."""
    from alexnet.reproduce.kernels import reproduce_kernels

    _write(reproduce_kernels(source), _folder(out, source))


@reproduce.command(epilog="\b\nExample:\n  alexnet reproduce predictions model.onnx --data data/quickstart --seed 3")
@_MODEL
@_DATA
@click.option("--pictures", type=click.IntRange(1, 32), default=8, show_default=True, help="Pictures shown.")
@_SEED
@_out
def predictions(source: Path, data: Path, pictures: int, seed: int, out: Path | None) -> None:
    """Figure 4, left: held-out pictures with the five most probable classes, the true one marked."""
    from alexnet.reproduce.predictions import reproduce_predictions

    _write(reproduce_predictions(source, data, pictures, seed), _folder(out, source))


@reproduce.command(epilog="\b\nExample:\n  alexnet reproduce neighbours model.onnx --data data/quickstart --queries 5")
@click.argument("source", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@_DATA
@click.option(
    "--queries", type=click.IntRange(1, 20), default=5, show_default=True, help="Held-out pictures asked for."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50_000, show_default=True, help="Training pictures searched at most."
)
@_SEED
@_out
def neighbours(source: Path, data: Path, queries: int, limit: int, seed: int, out: Path | None) -> None:
    """Figure 4, right: held-out pictures and the six training pictures nearest to each in the last hidden layer.

    The features of the training pictures are kept under --out: the same command goes on where it was stopped.
    """
    from alexnet.progress import counted
    from alexnet.reproduce.neighbours import reproduce_neighbours

    folder = _folder(out, source)
    with counted("features") as count:
        found = reproduce_neighbours(source, data, queries, limit, seed, folder, count)
    _write(found, folder)


@reproduce.command(epilog="\b\nExample:\n  alexnet reproduce table2 runs/a runs/b runs/c --data data/quickstart")
@click.argument("sources", nargs=-1, required=True, metavar="RUN_OR_MODEL...", type=click.Path(path_type=Path))
@_DATA
@_out
def table2(sources: tuple[Path, ...], data: Path, out: Path | None) -> None:
    """Table 2: the errors of one network and of several averaged, beside the paper's.

    The answers of each network are kept under --out: the same command goes on with the next one.
    """
    from alexnet.progress import counted
    from alexnet.reproduce.table2 import reproduce_table2

    folder = _folder(out, sources[0])
    _write(reproduce_table2(sources, data, folder, counted), folder)


def _trained(epochs: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of an experiment that trains its own networks, with its number of epochs."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            device_option,
            click.option(
                "-o",
                "--out",
                type=click.Path(path_type=Path),
                help="Folder for the networks and the results  [default: reproduce/NAME]",
            ),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every draw."),
            click.option(
                "--epochs", type=click.IntRange(min=1), default=epochs, show_default=True, help="Epochs at most."
            ),
            _DATA,
        ):
            command = option(command)
        return command

    return add


def _limit(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --limit."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="Training pictures at most, drawn by the seed.",
    )


@reproduce.command(
    epilog="\b\nExamples:\n  alexnet reproduce relu --data data/cifar10\n"
    "  alexnet reproduce relu --data data/cifar10 --start scaled --precision bf16 -o reproduce/relu-scaled"
)
@_trained(60)
@_limit(50_000)
@click.option(
    "--start",
    type=click.Choice(["source", "scaled"]),
    default="source",
    show_default=True,
    help="Weights: with the spreads of the 2012 layer files, or scaled to each layer's inputs.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="bf16: twice as fast on a CPU that has it.",
)
def relu(
    data: Path, epochs: int, seed: int, out: Path | None, device: Any, limit: int, start: str, precision: Any
) -> None:
    """Figure 1: epochs to 25 % training error with ReLUs and with tanh units, each at the best of several rates.

    Each network is saved after every epoch: the same command goes on where it was stopped.
    """
    from alexnet.progress import counted
    from alexnet.reproduce.relu import Setting, reproduce_relu
    from alexnet.reproduce.small_data import open_small_data
    from alexnet.reproduce.training_facts import choose_device

    folder, where = out or Path("reproduce/relu"), choose_device(device)
    with counted("reading pictures") as count:
        opened = open_small_data(data, limit, seed, lambda part: count)
    _write(reproduce_relu(opened, epochs, Setting(start, seed, precision), folder, where, counted), folder)


@reproduce.command(
    epilog="\b\nExamples:\n  alexnet reproduce lrn --data data/cifar10\n"
    "  alexnet reproduce lrn --data data/cifar10 --epochs 100 --limit 50000 --batch 128 --width 1"
)
@_trained(8)
@_limit(20_000)
@click.option(
    "--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures in a batch; 128 in the paper."
)
@click.option(
    "--width",
    type=click.FloatRange(min=0, min_open=True),
    default=0.5,
    show_default=True,
    help="Factor on the numbers of maps; 1 in the paper.",
)
def lrn(
    data: Path, epochs: int, seed: int, out: Path | None, device: Any, limit: int, batch: int, width: float
) -> None:
    """Section 3.3: the test error of the network with two locally connected layers, normalised and not.

    Each network is saved after every epoch: the same command goes on where it was stopped.
    """
    from alexnet.progress import counted
    from alexnet.reproduce.lrn import Budget, reproduce_lrn
    from alexnet.reproduce.small_data import open_small_data
    from alexnet.reproduce.training_facts import choose_device

    folder, where = out or Path("reproduce/lrn"), choose_device(device)
    with counted("reading pictures") as count:
        opened = open_small_data(data, limit, seed, lambda part: count)
    _write(reproduce_lrn(opened, Budget(epochs, batch, width), seed, folder, where, counted), folder)


@reproduce.command(
    epilog="\b\nExamples:\n  alexnet reproduce ablations --data data/quickstart\n"
    "  alexnet reproduce ablations --data data/quickstart --epochs 6 --set sgd.batch=16\n"
    "  alexnet reproduce ablations --data data/imagenette --recipe imagenette --epochs 45"
)
@_trained(20)
@recipe_options("quickstart")
def ablations(
    data: Path, epochs: int, seed: int, out: Path | None, device: Any, recipe: str, overrides: tuple[str, ...]
) -> None:
    """Errors without each ingredient: two columns, normalisation, overlap, colour noise, dropout, a middle layer.

    Each network is a run, saved after every epoch: the same command goes on where it was stopped.
    """
    from alexnet.progress import counted
    from alexnet.recipe_file import load_recipe
    from alexnet.reproduce.ablations import reproduce_ablations
    from alexnet.reproduce.training_facts import choose_device

    folder, where = out or Path("reproduce/ablations"), choose_device(device)
    _write(reproduce_ablations(load_recipe(recipe, overrides), data, epochs, seed, folder, where, counted), folder)


def _folder(out: Path | None, source: Path) -> Path:
    """Return where results go: under the run, or beside the model, unless it is said."""
    return out or (source / "reproduce" if source.is_dir() else source.parent / "reproduce")


def _write(found: Findings, out: Path) -> None:
    """Write an experiment's files and print what it says."""
    from alexnet.reproduce.page import write_findings

    files = write_findings(found, out)
    click.echo(f"{found.title}\n  paper  {found.paper}\n  here   {found.ours}")
    widths = [max(len(row[place]) for row in found.table) for place in range(len(found.table[0]))]
    for row in found.table:
        click.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    click.echo(f"wrote {', '.join(map(str, files))}")
