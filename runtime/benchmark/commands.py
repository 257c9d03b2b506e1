"""The command `alexnet benchmark`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.backends.table import NAMES
from alexnet.runtime.options import opening_options


class Batches(click.ParamType[tuple[int, ...]]):
    """Batch sizes, separated by commas."""

    name = "batches"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the distinct sizes, smallest first."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} are no batch sizes, expected numbers from 1 such as 1,2,4,8", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command(
    epilog="""\b
Examples:
  alexnet benchmark model.onnx
  alexnet benchmark model.onnx --images photos/ --batch 1,4,16 --plot speed.svg
  alexnet benchmark plain.onnx shared.onnx --backend onnxruntime-cpu --backend openvino-cpu --rounds 50 --json
"""
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of pictures: time decoding and files to answers too."
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(NAMES),
    help="Measure this backend only; repeatable  [default: all that are usable here]",
)
@click.option(
    "--batch", "batches", type=Batches(), default="1,2,4,8", show_default=True, help="Pictures in a batch, by commas."
)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="Time for the rounds.")
@click.option("--rounds", type=click.IntRange(min=1), help="Number of rounds, in place of --seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=click.Path(path_type=Path), help="File for a plot, .svg or .png (extra plot).")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@opening_options
def benchmark(
    models: tuple[Path, ...],
    images: Path | None,
    backends: tuple[str, ...],
    batches: tuple[int, ...],
    seconds: float,
    rounds: int | None,
    as_json: bool,
    plot: Path | None,
    quiet: bool,
    backend: BackendOptions,
) -> None:
    """Time MODELS in every backend that is present: latency and throughput by batch size, and what bounds them.

    All combinations take turns, so that ratios hold on a busy machine. A backend that fails is reported, and the others
    are measured. The command that runs the best combination is printed. How to read the table: docs/benchmarking.md.
    """
    from alexnet.runtime.benchmark.measure import BenchmarkOptions, benchmark
    from alexnet.runtime.benchmark.plot import SUFFIXES, import_figures, plot_report
    from alexnet.runtime.benchmark.table import report_text
    from alexnet.runtime.benchmark.timing import Limit

    if plot is not None:
        if plot.suffix.lower() not in SUFFIXES:
            raise click.UsageError(f"--plot writes {' or '.join(SUFFIXES)} by the file's suffix, not {plot}.")
        import_figures()

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    options = BenchmarkOptions(images, backends, batches, Limit(seconds, rounds), quiet)
    report = benchmark(models, options, backend, say)
    for name, reason in report.absent.items():
        say(f"left out: {name}, {reason}")
    click.echo(json.dumps(report.to_values(), indent=2) if as_json else report_text(report), nl=as_json)
    if plot is not None:
        plot_report(report, plot)
        say(f"{plot}: the plot")
