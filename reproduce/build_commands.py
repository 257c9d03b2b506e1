"""The command `alexnet build`: it ends with the parity pack run through the plan, and so stands above both stages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from alexnet.export.build_options import BuildOptions
    from alexnet.sidecar import Sidecar


def build_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the switches of BuildOptions to a command."""
    switches = (
        click.option(
            "--batch", metavar="MIN,OPT,MAX", help="Pictures in a batch  [default: 1,8,32, or the model's fixed one]"
        ),
        click.option(
            "--compute", metavar="SM,...", help="Compute capabilities for rtx, such as sm89,sm120  [default: all]"
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "fp16", "bf16", "int8", "fp8"]),
            help="End unless MODEL is in it; the model decides, not the build.",
        ),
        click.option("--opt-level", type=click.IntRange(0, 5), help="How long tactics are searched  [default: 3]"),
        click.option(
            "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Most scratch memory  [default: the GPU's]"
        ),
        click.option("--version-compatible", is_flag=True, help="For the lean runtime of later versions."),
        click.option("--hardware-compatible", is_flag=True, help="For every GPU from Ampere on, not only this one."),
        click.option("--strip-weights", is_flag=True, help="Leave the weights in MODEL, to be taken at load."),
        click.option(
            "--timing-cache",
            type=click.Path(path_type=Path, dir_okay=False),
            help="File of measured tactics  [default: one a GPU and version in the user's cache folder]",
        ),
        click.option("--no-timing-cache", is_flag=True, help="Measure every tactic again."),
        click.option(
            "--verify/--no-verify", default=True, show_default=True, help="Run the parity pack where a GPU is."
        ),
    )
    for switch in reversed(switches):
        command = switch(command)
    return command


def options_of(
    batch: str | None, compute: str | None, timing_cache: Path | None, no_timing_cache: bool, **rest: Any
) -> BuildOptions:
    """Return the switches as BuildOptions."""
    from alexnet.export.build_options import BuildOptions, parse_batch
    from alexnet.export.tensorrt_module import parse_compute

    return BuildOptions(
        profile=None if batch is None else parse_batch(batch),
        compute=None if compute is None else parse_compute(compute),
        timing_cache=timing_cache,
        keep_timings=not no_timing_cache,
        **rest,
    )


@click.command(
    epilog="""\b
Examples:
  alexnet build model.onnx                             -> model.plan and model.plan.json
  alexnet build model.onnx --target rtx --compute sm89,sm120
  alexnet build model.onnx -o engines/quick.plan --batch 1,32,128 --opt-level 5
  alexnet build --all-lowerings runs/quickstart-001    every LRN lowering and stem, and the fastest kept
"""
)
@click.argument("model", metavar="MODEL|RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the plan goes  [default: beside MODEL]")
@click.option(
    "--target",
    type=click.Choice(["gpu", "rtx"]),
    help="gpu: tensorrt, on this machine's GPU; rtx: tensorrt-rtx, ahead of time  [default: gpu where there is one]",
)
@click.option("--all-lowerings", is_flag=True, help="Try every lowering and stem of a RUN, and keep the fastest.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@build_options
def build(model: Path, output: Path | None, target: str | None, all_lowerings: bool, quiet: bool, **rest: Any) -> None:
    """Turn an ONNX MODEL into a TensorRT engine (a plan) and its sidecar.

    What the plan is stands in PLAN.json beside it: digests, versions, compute capabilities, precision of each layer,
    labels, preprocessing, parity. Where a GPU is, the parity pack is run through the plan, and one that is past its
    tolerance is not written.
    """
    from alexnet.export.tensorrt_module import choose_target

    options = options_of(**rest)
    choice = choose_target(target)
    click.echo(f"target {choice.target}: {choice.reason}")
    if all_lowerings:
        from alexnet.reproduce.all_lowerings import build_all_lowerings

        build_all_lowerings(model, output, choice.target, options, click.echo, quiet)
        return
    from alexnet.export.engine import engine_from_onnx
    from alexnet.runtime.verify import verify_plan

    plan = output or model.with_suffix(".plan")
    began = time.perf_counter()
    sidecar = engine_from_onnx(model, plan, choice.target, options, verify_plan, _warn, quiet)
    click.echo(summary(plan, sidecar, time.perf_counter() - began))


def summary(plan: Path, sidecar: Sidecar, seconds: float) -> str:
    """Return what was built, in a few lines."""
    return (
        f"{plan}: {sidecar.plan_bytes / 1e6:.1f} MB in {seconds:.1f} s by {sidecar.module} {sidecar.tensorrt_version}, "
        f"batch {sidecar.profile.smallest} to {sidecar.profile.largest}, best {sidecar.profile.best}, "
        f"{sidecar.precision}, compute capability {', '.join(sidecar.compute_capabilities)}\n"
        f"{plan}.json: the sidecar; verified: {'yes' if sidecar.verified else 'no'}: {sidecar.verified_reason}\n"
        f"next: alexnet infer --engine {plan} images/"
    )


def _warn(text: str) -> None:
    """Report on standard error."""
    click.echo(text, err=True)
