"""The command `alexnet calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.errors import missing_package


@click.command(
    epilog="""\b
Examples:
  alexnet calibrate model.onnx --data data/quickstart              -> model.int8.onnx
  alexnet calibrate model.onnx --data data/quickstart --format fp8 --method entropy
  alexnet calibrate model.onnx --data photos/ --keep conv1 --keep fc8 -o small.onnx
  alexnet calibrate model.onnx --data data/quickstart --auto --max-drop 0.2
"""
)
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PREPARED|DIR",
    help="Prepared data, or a folder of train/CLASS/ and val/CLASS/: train calibrates, val measures.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The model to write  [default: MODEL.FORMAT.onnx]")
@click.option("--format", "form", type=click.Choice(("int8", "fp8")), default="int8", show_default=True)
@click.option(
    "--method",
    type=click.Choice(("minmax", "entropy", "percentile", "mse")),
    default="mse",
    show_default=True,
    help="How the threshold of a tensor is found.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0.0, max=100.0),
    default=0.5,
    show_default=True,
    help="Points of top-1 accuracy that may be lost; past them no model is written.",
)
@click.option("--keep", multiple=True, metavar="LAYER", help="A layer that stays in float: conv1, net2/fc6.")
@click.option("--auto", is_flag=True, help="Keep the dearest layers in float until the drop is allowed.")
@click.option("--sensitivity", is_flag=True, help="Print what each layer costs when it alone is quantised.")
@click.option("--pictures", type=click.IntRange(min=1), default=512, show_default=True, help="To calibrate with.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the choice of pictures.")
@click.option(
    "--full-range",
    is_flag=True,
    help="INT8 weights of 8 bits instead of 7: for GPUs, and CPUs with VNNI; others saturate.",
)
def calibrate(
    model: Path,
    data: Path,
    out: Path | None,
    form: str,
    method: str,
    max_drop: float,
    keep: tuple[str, ...],
    auto: bool,
    sensitivity: bool,
    pictures: int,
    seed: int,
    full_range: bool,
) -> None:
    """Turn a float32 MODEL.onnx into INT8 or FP8 with explicit Q/DQ, its accuracy measured before it is written.

    Thresholds come from pictures of the training part, balanced by class, run through the whole graph. Both models
    then classify the validation part in ONNX Runtime; when top-1 accuracy drops by more than --max-drop the command
    ends with exit code 13 and no model.
    """
    out = out or model.with_name(f"{model.stem}.{form}.onnx")
    if out.is_dir():
        raise click.UsageError(f"--out takes a file, and {out} is a folder.")
    if out.resolve() == model.resolve():
        raise click.UsageError(f"--out is the model itself, {model}; name another file.")
    try:
        from alexnet.calibration.calibrate import CalibrateOptions, open_float_model, quantise_model
        from alexnet.calibration.console import print_quantised
        from alexnet.calibration.output import write_quantised
        from alexnet.calibration.quantise import QuantiseOptions
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise missing_package("onnxruntime", "cpu", "alexnet calibrate") from None
    from alexnet.progress import counted

    options = CalibrateOptions(
        QuantiseOptions(form, full_range),  # type: ignore[arg-type]
        method,  # type: ignore[arg-type]
        max_drop,
        keep,
        auto,
        pictures,
        seed,
        sensitivity,
    )
    source = open_float_model(model)
    found = quantise_model(source, data, options, counted, lambda text: click.echo(text, err=True))
    written = write_quantised(source, found, out, options)
    print_quantised(source, found, written, options)
