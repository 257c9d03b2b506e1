"""The options that name and open models, the same for every command, made from the table of backends."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.backends.table import NAMES

# The models of a command that answers by one or by several together; it receives their paths as `engines`.
engines_option = click.option(
    "--engine",
    "engines",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Model: a .onnx file or a plan with its sidecar; several are averaged as an ensemble.",
)
_BACKEND = click.option(
    "--backend",
    "name",
    type=click.Choice(NAMES),
    help="What runs the model: docs/backends.md  [default: the first usable one]",
)
_OPTIONS = (
    click.option("--gpu", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the GPU."),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16", "fp16"]),
        help="Arithmetic where the backend can choose it  [default: the model's]",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the backend  [default: all cores]"),
    click.option(
        "--hint",
        type=click.Choice(["latency", "throughput"]),
        default="latency",
        show_default=True,
        help="OpenVINO: one batch at a time, or its pictures shared among streams.",
    ),
    click.option(
        "--allow-cpu", is_flag=True, help="Accept the CPU where a GPU's backend was asked for and is not had."
    ),
    click.option("--trust", is_flag=True, help="Load a plan without a sidecar (trtexec's); needs --like or --labels."),
    click.option(
        "--like", type=click.Path(path_type=Path), help="ONNX model that a plan without a sidecar was made of."
    ),
    click.option("--labels", type=click.Path(path_type=Path), help="With --trust: class names, one a line or JSON."),
    click.option(
        "--side", type=click.IntRange(min=1), default=256, show_default=True, help="With --trust: pixels a side."
    ),
    click.option(
        "--resize",
        type=click.Choice(["shorter", "warp"]),
        default="shorter",
        show_default=True,
        help="With --trust: bring the shorter side to --side and take the centre, or warp.",
    ),
    click.option("--cache", type=click.Path(path_type=Path), help="Folder for what a backend compiles."),
)

# The fields of BackendOptions that these options set.
_FIELDS = (
    *("gpu", "precision", "threads", "hint", "allow_cpu"),
    *("trust", "like", "labels", "side", "resize", "cache"),
)


def backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the backends; it receives them as one BackendOptions, `backend`."""
    return _BACKEND(opening_options(command))


def opening_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the same options without --backend, which it may have in another form."""

    @functools.wraps(command)
    def gathered(name: str | None = None, **given: Any) -> None:
        command(backend=BackendOptions(name, **{field: given.pop(field) for field in _FIELDS}), **given)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered
