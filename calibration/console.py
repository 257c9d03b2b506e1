"""What `alexnet calibrate` prints."""

from __future__ import annotations

import click

from alexnet.calibration.calibrate import TIMED, CalibrateOptions, FloatModel, Quantised
from alexnet.calibration.output import Written
from alexnet.calibration.sensitivity import table


def print_quantised(model: FloatModel, found: Quantised, written: Written, options: CalibrateOptions) -> None:
    """Print the accuracy side by side, what the layers cost, and the files."""
    form = options.quantise.format
    if found.costs:
        click.echo(f"layers quantised one at a time, on {found.costs[0].pictures} calibration pictures:")
        click.echo(table(found.costs))
    click.echo(f"{found.accuracy.top1.pictures:,} validation pictures, in ONNX Runtime:")
    click.echo(found.accuracy.table(form))
    if found.seconds:
        click.echo(auto_cost(model, found, form))
    elif found.kept:
        click.echo(f"in float: {', '.join(found.kept)}")
    share = written.bytes / model.bytes
    click.echo(
        f"{written.model}: {written.bytes / 1e6:.1f} MB, {share:.1%} of float32; {len(found.chosen.places)} pictures, "
        f"{options.method}"
    )
    click.echo(
        f"beside it: {written.manifest.name} (the pictures), {written.pack.name} for alexnet check, "
        f"{written.report.name} to read"
    )
    click.echo(f"next: alexnet build {written.model}   or: alexnet infer --engine {written.model} images/")


def auto_cost(model: FloatModel, found: Quantised, form: str) -> str:
    """Return what the layers that --auto kept in float cost in speed, as measured."""
    number = model.metadata.batch or TIMED
    rates = {name: number / seconds for name, seconds in found.seconds.items()}
    slower = found.seconds["kept"] / found.seconds["all"]
    return (
        f"in float: {', '.join(found.kept)}; ONNX Runtime, batch {number}: {rates['kept']:.1f} pictures/s, "
        f"{rates['all']:.1f} with all layers in {form} ({slower:.2f} times the time), {rates['float32']:.1f} in float32"
    )
