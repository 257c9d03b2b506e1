"""The commands `alexnet data ...`."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.group()
def data() -> None:
    """Draw the embedded pictures."""


@data.command(
    epilog="""\b
Examples:
  alexnet data make data/quickstart                    3,000 to train on, 500 held out
  alexnet data make data/large --size 256 --train 100000 --val 5000 --seed 7
  alexnet data make images --flat 100                  one folder of pictures that neither part contains
"""
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", default=0, show_default=True, help="Another seed draws other pictures of the same things.")
@click.option("--size", default=128, show_default=True, help="Shorter side, in pixels.")
@click.option("--train", default=3000, show_default=True, help="Pictures to train on.")
@click.option("--val", default=500, show_default=True, help="Pictures held out for validation.")
@click.option(
    "--flat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Draw only N pictures of a third part, all in OUT.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes  [default: one a core]")
def make(out: Path, seed: int, size: int, train: int, val: int, flat: int | None, workers: int | None) -> None:
    """Draw the embedded pictures: ten classes of things, the same ones on every machine.

    OUT gets the folders train/ and val/ with one folder a class. Stopped half-way, the same command goes on.
    """
    from alexnet.progress import counted
    from alexnet.train.data.generator import CLASSES, make_flat, make_pictures

    if flat is not None:
        make_flat(out, seed=seed, size=size, number=flat)
        click.echo(f"{out}: {flat} pictures that neither training nor validation sees")
        return
    with counted("drawing") as count:
        make_pictures(
            out,
            seed=seed,
            size=size,
            train=train,
            val=val,
            workers=workers or os.cpu_count() or 1,
            progress=count,
        )
    click.echo(
        f"{out}: {train:,} pictures to train on and {val:,} held out, {len(CLASSES)} classes: {', '.join(CLASSES)}"
    )
