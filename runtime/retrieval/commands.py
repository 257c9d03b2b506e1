"""The command `alexnet search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.options import backend_options


@click.command(
    epilog="""\b
Examples:
  alexnet search index/ picture.jpg
  alexnet search index/ a.jpg b.jpg --top 10 --exact --json
  alexnet search index/ picture.jpg --codes --show nearest.png
"""
)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(1, 1000), default=6, show_default=True, help="Pictures found for each.")
@click.option("--exact", is_flag=True, help="Measure every picture instead of asking the approximate index.")
@click.option("--codes", is_flag=True, help="Compare the short binary codes, by the number of bits that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--show", "shown", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw what was found.")
@click.option(
    "--engine", "model", type=click.Path(path_type=Path), help="Where the index's model is  [default: as it was]"
)
@backend_options
def search(
    index: Path,
    pictures: tuple[Path, ...],
    top: int,
    exact: bool,
    codes: bool,
    as_json: bool,
    shown: Path | None,
    model: Path | None,
    backend: BackendOptions,
) -> None:
    """Print the pictures of INDEX whose last hidden layer is nearest to that of each PICTURE (section 6.1).

    Each line has the rank, the distance (Euclidean, or with --codes the bits that differ), the class where one is
    known, and the name. The index's own model is used, and another one is refused.
    """
    if exact and codes:
        raise click.UsageError("--exact and --codes are two ways to search; give one of them")
    if shown and shown.suffix.lower() != ".png":
        raise click.UsageError(f"--show {shown} would be a PNG by another name; give it the suffix .png")
    from alexnet.errors import printable
    from alexnet.runtime.retrieval.search import search as search_index
    from alexnet.runtime.retrieval.search import show

    asked: Literal["exact", "codes"] | None = "exact" if exact else "codes" if codes else None
    searched = search_index(index, pictures, top, asked, model, backend)
    if shown:
        show(searched, shown)
    if as_json:
        click.echo(json.dumps(searched.to_values(), indent=2))
        return
    for path, row in zip(searched.pictures, searched.found, strict=True):
        click.echo(f"{printable(str(path))}: the nearest of {len(searched.index.names):,} pictures, {searched.method}")
        width = max(len(entry.label or "-") for entry in row)
        for rank, entry in enumerate(row, start=1):
            label = printable(entry.label or "-")
            click.echo(f"  {rank:>3}  {entry.distance:10.3f}  {label:<{width}}  {printable(entry.name)}")
