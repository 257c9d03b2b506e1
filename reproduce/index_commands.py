"""The command `alexnet index`: it can train an encoder, and so stands above the runtime, which searches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.options import backend_options


@click.command(
    epilog="""\b
Examples:
  alexnet index model.onnx data/quickstart -o index/
  alexnet index model.onnx photos/ -o index/ --codes 128
  alexnet index model.onnx data/imagenet --part val -o index/ --no-approximate
"""
)
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the index.")
@click.option("--part", type=click.Choice(["train", "val"]), help="Part of prepared data  [default: train]")
@click.option(
    "--features-of",
    "of",
    type=click.Choice(["mean", "centre"]),
    default="mean",
    show_default=True,
    help="Features: the mean over the crops, or the centre crop's.",
)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures in a batch.")
@click.option("--approximate/--no-approximate", default=True, show_default=True, help="Build usearch's graph too.")
@click.option(
    "--codes",
    "bits",
    type=click.IntRange(8, 4096),
    metavar="BITS",
    help="Train an autoencoder that makes codes of so many bits, such as 128 (extra train).",
)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@backend_options
def index(
    model: Path,
    data: Path,
    out: Path,
    part: Literal["train", "val"] | None,
    of: Literal["mean", "centre"],
    batch: int,
    approximate: bool,
    bits: int | None,
    quiet: bool,
    backend: BackendOptions,
) -> None:
    """Index the pictures of DATA, prepared data or a folder, by the last hidden layer of MODEL (section 6.1).

    Features go to the disk as they come: the same command goes on where it was killed, and adds to a finished index
    what it lacks. A picture that cannot be decoded is reported and left out. `alexnet search` asks the index.
    """
    if bits is not None and bits % 8:
        raise click.UsageError(f"--codes {bits} is no whole number of bytes; give a multiple of 8, such as 128 or 256")
    from functools import partial

    from alexnet.errors import printable
    from alexnet.progress import counted
    from alexnet.reproduce.index import index_pictures
    from alexnet.runtime.retrieval.build import IndexOptions

    def say(text: str) -> None:
        if not quiet:
            click.echo(printable(text), err=True)

    options = IndexOptions(part=part, of=of, batch=batch, approximate=approximate)
    made = index_pictures(model, data, out, options, bits, backend, say, partial(counted, quiet=quiet))
    rows, length = made.features["rows"], made.features["length"]
    kinds = ["exact"] + ["approximate"] * (made.approximate is not None)
    if made.codes:
        kinds.append(f"codes of {made.codes['bits']} bits")
    click.echo(
        f"{out}: {rows:,} pictures, {len(made.features['skipped']):,} skipped, {length:,} features each; "
        f"{', '.join(kinds)}"
    )
