"""Where commands run torch networks: the option and its values."""

from __future__ import annotations

from typing import Literal

import click

Device = Literal["auto", "cpu", "cuda"]

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: a GPU where there is one.",
)
