"""The command `alexnet export`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alexnet.errors import missing_package
from alexnet.export.options import ExportOptions
from alexnet.run import RUNS, Run, newest_run


class Batch(click.ParamType[int | None]):
    """`dynamic`, or the number of pictures that every batch has."""

    name = "batch"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return None for `dynamic`, else the number."""
        if value is None or value == "dynamic":
            return None
        if not str(value).isdecimal() or not int(str(value)):
            self.fail(f"{value!r} is no batch, expected dynamic or a number of pictures from 1", param, ctx)
        return int(str(value))


def choice(name: str, values: tuple[str, ...], text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the click option of one of ExportOptions' switches; the first value is the default."""
    return click.option(f"--{name}", type=click.Choice(values), default=values[0], show_default=True, help=text)


@click.command(
    epilog="""\b
Examples:
  alexnet export --onnx                                newest run -> model.onnx
  alexnet export runs/quickstart-001 --onnx nets/quick.onnx
  alexnet export --onnx --pictures photos/             prove it on these pictures instead of the run's own
  alexnet export --onnx --stem shared --precision fp16
  alexnet export runs/a runs/b runs/c --onnx           one graph that answers with the mean of three networks
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option(
    "--onnx",
    "out",
    is_flag=False,
    flag_value=Path("model.onnx"),
    type=click.Path(path_type=Path),
    metavar="[PATH]",
    help="Write an ONNX model here  [without PATH: model.onnx]",
)
@click.option("--pictures", type=click.Path(path_type=Path), help="Folder of real pictures for the proof of parity.")
@choice("lrn", ("conv", "native", "function", "plugin"), "Lowering of response normalisation: docs/lrn.md.")
@choice("crops", ("ten", "one"), "The ten crops of section 4.1, or the centre one.")
@choice("input", ("pixels", "float"), "uint8 [N, S, S, 3], or float planes [N, 3, S, S] of the same values.")
@choice("precision", ("fp32", "fp16", "bf16"), "Type of the network's arithmetic; input and output keep theirs.")
@choice(
    "stem",
    ("plain", "shared", "deep"),
    "shared: conv1 once on the whole picture and its mirror, for all ten crops; deep: conv2 too.",
)
@click.option("--opset", type=int, help="Version of ONNX's operators  [default: 18; 22 for bf16]")
@click.option("--batch", type=Batch(), default="dynamic", show_default=True, help="dynamic, or a number of pictures.")
@click.option("--external-data", "external", is_flag=True, help="Keep the weights in a file of their own.")
@click.option("--best", is_flag=True, help="The weights with the lowest validation error instead of the last ones.")
def export(runs: tuple[Path, ...], out: Path | None, pictures: Path | None, best: bool, **switches: Any) -> None:
    """Turn RUN, or the newest run, into an ONNX model with proof of parity; several RUNs into one that averages them.

    The model takes uint8 pictures and answers averaged probabilities: mean, ten crops, network, softmax and
    average are in the graph. Beside it stand a parity pack, with which `alexnet check` repeats the proof
    anywhere, and a report to read. A model that differs from the training model is not written.
    """
    if out is None:
        raise click.UsageError("Say what to export to: add --onnx, or --onnx PATH.")
    if out.is_dir():
        raise click.UsageError(
            f"--onnx takes a file, and {out} is a folder; a run stands before it: alexnet export {out} --onnx"
        )
    options = ExportOptions(**switches)
    try:
        from alexnet.export.onnx_from_run import export_onnx
        from alexnet.export.source import pictures_for_proof, source_from_run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "train", "alexnet export") from None

    chosen = [Run(run) for run in runs] or [newest_run(RUNS)]
    click.echo(f"exporting {', '.join(str(run.path) for run in chosen)}" + ("" if runs else f" (newest of {RUNS}/)"))
    began = time.perf_counter()
    sources = [source_from_run(run, best) for run in chosen]
    shown, names = pictures_for_proof(chosen[0], pictures)
    exported = export_onnx(sources, shown, names, out, options, say=lambda text: click.echo(text, err=True))
    seconds = time.perf_counter() - began
    megabytes = exported.bytes / 1e6
    click.echo(f"{out}: {exported.nodes} nodes, opset {options.version}, {megabytes:.1f} MB, in {seconds:.1f} s")
    beside = f"{exported.pack.name} for alexnet check, {exported.report.name} to read"
    click.echo(f"beside it: {beside}" + (f", its weights {exported.weights.name}" if exported.weights else ""))
    click.echo(exported.proof.comparison.table(exported.proof.tolerance))
    click.echo(f"next: alexnet build {out}   or: alexnet infer --engine {out} images/")
