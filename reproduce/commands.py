"""The commands `alexnet evaluate` and `alexnet check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from alexnet.reproduce.device_option import device_option


@click.command(
    epilog="""\b
Examples:
  alexnet evaluate runs/quickstart-001 data/quickstart
  alexnet evaluate model.onnx data/quickstart
  alexnet evaluate runs/quickstart-001 data/quickstart --best --json
"""
)
@click.argument("source", metavar="RUN_OR_MODEL", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--best", is_flag=True, help="A run's weights with the lowest validation error instead of the last ones.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures in a batch.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(source: Path, data: Path, best: bool, batch: int, device: Any, as_json: bool) -> None:
    """Print top-1 and top-5 error of a run or a model on the validation part of DATA, every picture counted once.

    A run is asked with the centre crop and with ten crops, in float32 on a GPU where there is one; a model file
    answers ten crops in the backend that its kind has.
    """
    if device != "auto" and not source.is_dir():
        raise click.UsageError(f"--device is for runs, and {source} is none: a model file has its own backend.")
    from alexnet.progress import counted
    from alexnet.reproduce.evaluate import evaluate as evaluate_source

    with counted("evaluating") as count:
        found = evaluate_source(source, data, best=best, batch=batch, count=count, device=device)
    if as_json:
        click.echo(json.dumps([evaluation.to_values() for evaluation in found], indent=2))
        return
    click.echo(f"{source} on the {found[0].pictures:,} validation pictures of {data}")
    for evaluation in found:
        views = "centre crop" if evaluation.views == 1 else f"{evaluation.views} crops"
        click.echo(f"  {views:<12} top-1 error {evaluation.top1:6.2%}   top-5 error {evaluation.top5:6.2%}")


@click.command(
    epilog="""\b
Examples:
  alexnet check model.onnx                             against its parity pack, without torch
  alexnet check model.onnx --layers                    and every layer; names the first that differs
  alexnet check model.plan --pack model.parity.safetensors
  alexnet check runs/quickstart-001 model.onnx         the training network against its export
  alexnet check model.onnx model.plan --images photos/
"""
)
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="[B]", required=False, type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Pictures for A and B  [default: those of a pack]")
@click.option(
    "--pack", type=click.Path(path_type=Path), help="Parity pack of A alone  [default: A's name.parity.safetensors]"
)
@click.option("--layers", is_flag=True, help="Compare every layer too, for the first picture's centre crop.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def check(
    first: Path, second: Path | None, images: Path | None, pack: Path | None, layers: bool, as_json: bool
) -> None:
    """Hold A, a model, against the training model's own answers, or B against A: runs, .onnx, .plan.

    A alone is compared with what its parity pack expects; torch is needed for a run only, and a plan's sidecar keeps
    the result. Ends with exit code 6 when a probability differs by more than the tolerance of the precision, or, with
    --layers, a layer does.
    """
    if second is None and first.is_dir():
        raise click.UsageError(
            f"{first} is a folder; a run is compared with a model or another run: alexnet check {first} model.onnx"
        )
    if second is None and images is not None:
        raise click.UsageError("--images are answered by two: alexnet check A B --images DIR")
    if second is not None and pack is not None:
        raise click.UsageError("--pack belongs to one model: alexnet check A --pack FILE; for two, give --images DIR")
    from alexnet.reproduce.check_output import print_check, print_pairing

    if second is None:
        from alexnet.runtime.check import examine_model
        from alexnet.runtime.verify import record_check

        found = examine_model(first, pack, layers=layers)
        record_check(found, lambda text: click.echo(text, err=True))
        print_check(found, as_json)
        return
    from alexnet.reproduce.check import compare_subjects

    print_pairing(compare_subjects(first, second, images, layers=layers), as_json)
