"""The command `alexnet report`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.errors import missing_package


@click.command(
    epilog="""\b
Examples:
  alexnet report runs/quickstart-001
  alexnet report runs/quickstart-001 -o report.html --artefact engines/
  alexnet benchmark model.onnx --json > benchmark.json
  alexnet report runs/quickstart-001 --benchmark benchmark.json
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File of the page  [default: RUN/report.html]")
@click.option("--data", type=click.Path(path_type=Path), help="The run's data  [default: as the run recorded them]")
@click.option("--best", is_flag=True, help="The weights with the lowest validation error instead of the last ones.")
@click.option(
    "--artefact",
    "artefacts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A .onnx, a .plan, or a folder of them; those in and beside RUN, and here, are found. Repeatable.",
)
@click.option(
    "--benchmark",
    type=click.Path(path_type=Path),
    help="What `alexnet benchmark --json` printed, for the table of times.",
)
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures in a batch.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def report(
    run: Path,
    output: Path | None,
    data: Path | None,
    best: bool,
    artefacts: tuple[Path, ...],
    benchmark: Path | None,
    batch: int,
    quiet: bool,
) -> None:
    """Write one page of HTML about RUN that needs nothing beside it: open it from the disk, print it, send it.

    Recipe, curves, kernels, errors from one crop and from ten, confusion matrix, best and worst pictures, the parity of
    each model and plan made from the run, a table of times. On a CPU the same run and data give the same page.
    """
    from functools import partial

    from alexnet.progress import counted
    from alexnet.run import Run

    try:
        from alexnet.reproduce.report.page import ReportOptions, write_report
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "jinja2"):
            raise
        extra = "train" if error.name == "torch" else "report"
        raise missing_package(error.name, extra, "alexnet report") from None

    page = output or run / "report.html"
    options = ReportOptions(data, best, artefacts, benchmark, batch)
    ten = write_report(Run(run), page, options, partial(counted, quiet=quiet))
    click.echo(
        f"{page}: {len(ten.truth):,} pictures, ten crops, top-1 error {1 - ten.right.mean():.2%}, "
        f"top-5 error {1 - ten.among_five.mean():.2%}; open it in a browser"
    )
