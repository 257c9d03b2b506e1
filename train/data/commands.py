"""The commands `alexnet data ...`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from alexnet.recipe import Resize


@click.group()
def data() -> None:
    """Draw, prepare and check the pictures to train on."""


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


@data.command(
    epilog="""\b
Examples:
  alexnet data prepare my-pictures/ data/mine              a folder with train/CLASS/ and val/CLASS/
  alexnet data prepare imagenette.zip data/imagenette --size 128
  alexnet data prepare ILSVRC2012/ data/imagenet           tars or folders, with the devkit beside them
  alexnet data prepare cifar-10-batches-bin/ data/cifar10 --size 32
  alexnet data prepare generator:train=100000,val=5000 data/drawn --size 128
"""
)
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--size", default=256, show_default=True, help="Side of the prepared pictures, in pixels (section 2).")
@click.option(
    "--format", "form", type=click.Choice(["raw", "jpeg"]), default="raw", show_default=True, help="Of the shards."
)
@click.option(
    "--resize",
    type=click.Choice(["shorter", "warp"]),
    default="shorter",
    show_default=True,
    help="Shorter side to the size, then the centre (section 2); or both sides to it, as Caffe does.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of the JPEGs.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes  [default: one a core]")
@click.option("--strict", is_flag=True, help="End at the first picture that cannot be decoded, with exit code 4.")
def prepare(
    source: str,
    out: Path,
    size: int,
    form: str,
    resize: Resize,
    quality: int,
    workers: int | None,
    strict: bool,
) -> None:
    """Bring the pictures of SOURCE to one size, in shards that training maps into memory, with their statistics.

    Killed half-way, the same command goes on; an unfinished OUT is never taken for whole.
    """
    from alexnet.progress import counted
    from alexnet.train.data.prepare import prepare as prepare_source

    with counted("preparing") as count:
        done = prepare_source(
            source,
            out,
            side=size,
            form=form,
            quality=quality,
            workers=workers or os.cpu_count() or 1,
            strict=strict,
            progress=count,
            resize=resize,
        )
    warped = " --set data.resize=warp" if resize == "warp" else ""
    for reason in done.skipped:
        click.echo(f"skipped: {' '.join(reason.split())}", err=True)
    click.echo(
        f"{out}: {done.pictures['train']:,} pictures to train on and {done.pictures['val']:,} held out, "
        f"{done.classes} classes, {len(done.skipped)} skipped\n"
        f"next: alexnet train --data {out} --set data.picture={size}{warped}"
    )


@data.command(
    epilog="""\b
Examples:
  alexnet data check my-pictures/
  alexnet data check imagenette.zip --json
"""
)
@click.argument("source")
@click.option("--workers", type=click.IntRange(min=1), help="Threads  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(source: str, workers: int | None, as_json: bool) -> None:
    """Report what is odd in SOURCE: undecodable, CMYK, grey, misnamed, tiny, duplicate and overlapping pictures."""
    import json

    from alexnet.progress import counted
    from alexnet.train.data.check import KINDS, check_source
    from alexnet.train.data.sources import list_source

    listed = list_source(source)
    with counted("checking") as count:
        report = check_source(listed, workers or os.cpu_count() or 1, count)
    if as_json:
        click.echo(json.dumps(report.to_values(), indent=2))
        return
    parts = ", ".join(f"{number:,} in {part}" for part, number in report.pictures.items())
    click.echo(f"{source}: {parts}; {report.classes} classes")
    (small, least), (large, most) = report.smallest_class, report.largest_class
    click.echo(f"  smallest class {small} with {least:,}, largest {large} with {most:,} to train on")
    for kind, oddity in report.oddities.items():
        names = f": {', '.join(oddity.first[:3])}" if oddity.count else ""
        click.echo(f"  {oddity.count:7,} {KINDS[kind]}{names}")
