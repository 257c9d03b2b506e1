"""What figures of errors by epoch share: Figure 1 and the networks of section 3.3."""

from __future__ import annotations

from typing import Any


def label_curves(axis: Any, error: str) -> None:
    """Name the axes of errors by epoch, begin both at 0, and add grid and legend; called once the curves are drawn."""
    axis.set_xlabel("epochs")
    axis.set_ylabel(error)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend()
