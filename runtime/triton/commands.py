"""The command `alexnet package`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(
    epilog="""\b
Examples:
  alexnet package model.onnx --triton repository/
  alexnet package model.int8.onnx --triton repository/ --max-batch 64 --queue-delay 500
  alexnet package a100/model.plan h100/model.plan --triton repository/     one model, a file for each GPU
"""
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--triton",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="New folder for a model repository of Triton.",
)
@click.option(
    "--max-batch", type=click.IntRange(min=1), help="Pictures in a batch  [default: the plan's most; ONNX 32]"
)
@click.option(
    "--queue-delay",
    type=click.IntRange(min=0),
    default=2000,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a picture waits for others.",
)
@click.option(
    "--instances", type=click.IntRange(min=1), default=1, show_default=True, help="Copies of a model on each device."
)
def package(models: tuple[Path, ...], folder: Path, **rest: Any) -> None:
    """Turn models into a folder that NVIDIA's Triton inference server serves.

    MODELs are .onnx files and plans with their sidecars; plans of one ONNX model become one Triton model with a file
    for each compute capability. Names, types, shapes, batches and classes are read from the models.
    """
    from alexnet.runtime.triton.repository import RepositoryOptions, package_triton

    for model in package_triton(models, folder, RepositoryOptions(**rest), lambda text: click.echo(text, err=True)):
        config = model.config
        batch = config.metadata.batch or f"1 to {config.batching.largest}"
        click.echo(
            f"{folder / config.name}: batch {batch}, {len(config.metadata.labels)} classes: {', '.join(model.files)}"
        )
    click.echo(f"next: tritonserver --model-repository={folder}")
