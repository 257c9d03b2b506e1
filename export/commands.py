"""The commands `alexnet export` and `alexnet build`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from alexnet.errors import missing_package
from alexnet.export.options import ExportOptions, Lowering
from alexnet.run import RUNS, Run, newest_run


@click.command(
    epilog="""\b
Examples:
  alexnet export --onnx                                newest run -> model.onnx
  alexnet export runs/quickstart-001 --onnx nets/quick.onnx
  alexnet export --onnx --pictures photos/             prove it on these pictures instead of the run's own
"""
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
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
@click.option("--opset", type=int, default=18, show_default=True, help="Version of ONNX's operators.")
@click.option(
    "--lrn",
    type=click.Choice(["conv", "native", "function", "plugin"]),
    default="conv",
    show_default=True,
    help="Lowering of response normalisation: docs/lrn.md.",
)
@click.option("--best", is_flag=True, help="The weights with the lowest validation error instead of the last ones.")
def export(run: Path | None, out: Path | None, pictures: Path | None, opset: int, lrn: Lowering, best: bool) -> None:
    """Turn RUN, or the newest run, into an ONNX model with proof of parity.

    The model takes uint8 pictures and answers averaged probabilities: mean, ten crops, network, softmax and
    average are in the graph. Beside it stands a parity pack, with which `alexnet check` repeats the proof
    anywhere. A model that differs from the training model is not written.
    """
    if out is None:
        raise click.UsageError("Say what to export to: add --onnx, or --onnx PATH.")
    if out.is_dir():
        raise click.UsageError(
            f"--onnx takes a file, and {out} is a folder; a run stands before it: alexnet export {out} --onnx"
        )
    try:
        from alexnet.export.onnx_from_run import export_onnx, pictures_for_proof, source_from_run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "train", "alexnet export") from None

    chosen = Run(run) if run else newest_run(RUNS)
    click.echo(f"exporting {chosen.path} ({'as given' if run else f'the newest run under {RUNS}/'})")
    began = time.perf_counter()
    source = source_from_run(chosen, best)
    exported = export_onnx(source, *pictures_for_proof(chosen, pictures), out, ExportOptions(lrn=lrn, opset=opset))
    seconds = time.perf_counter() - began
    megabytes = out.stat().st_size / 1e6
    click.echo(f"{out}: {exported.nodes} nodes, opset {opset}, {megabytes:.1f} MB, in {seconds:.1f} s")
    click.echo(f"beside it: {exported.pack.name} for alexnet check, {exported.report.name} to read")
    click.echo(exported.comparison.table(exported.tolerance))
    click.echo(f"next: alexnet build {out}   or: alexnet infer --engine {out} images/")


@click.command(
    epilog="""\b
Examples:
  alexnet build model.onnx                             -> model.plan and model.plan.json
  alexnet build model.onnx --target rtx --compute sm89,sm120
  alexnet build model.onnx -o engines/quick.plan --batch 1,32,128
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the plan goes  [default: beside MODEL]")
@click.option(
    "--target",
    type=click.Choice(["gpu", "rtx"]),
    help="gpu: tensorrt, on this machine's GPU; rtx: tensorrt-rtx, ahead of time  [default: gpu where there is one]",
)
@click.option("--batch", default="1,8,32", show_default=True, metavar="MIN,OPT,MAX", help="Pictures in a batch.")
@click.option("--compute", metavar="SM,...", help="Compute capabilities for rtx, such as sm89,sm120  [default: all]")
def build(model: Path, output: Path | None, target: str | None, batch: str, compute: str | None) -> None:
    """Turn an ONNX MODEL into a TensorRT engine (a plan) and its sidecar.

    What the plan is stands in PLAN.json beside it: digests, versions, compute capabilities, labels, preprocessing.
    """
    from alexnet.export.engine import choose_target, engine_from_onnx, parse_batch, parse_compute

    choice = choose_target(target)
    click.echo(f"target {choice.target}: {choice.reason}")
    plan = output or model.with_suffix(".plan")
    began = time.perf_counter()
    sidecar = engine_from_onnx(model, plan, choice.target, parse_batch(batch), parse_compute(compute, choice.target))
    seconds = time.perf_counter() - began
    click.echo(
        f"{plan}: {sidecar.plan_bytes / 1e6:.1f} MB in {seconds:.1f} s by {sidecar.module} {sidecar.tensorrt_version}, "
        f"batch {sidecar.profile.smallest} to {sidecar.profile.largest}, best {sidecar.profile.best}, "
        f"{sidecar.precision}, compute capability {', '.join(sidecar.compute_capabilities)}\n"
        f"{plan}.json: the sidecar; verified: {'yes' if sidecar.verified else 'no'}, {sidecar.verified_reason}\n"
        f"next: alexnet infer --engine {plan} images/"
    )
