"""What drawings share: matplotlib, imported only when something is drawn, and names cut to the room there is."""

from __future__ import annotations

from types import ModuleType

from alexnet.errors import missing_package


def import_figures(purpose: str) -> ModuleType:
    """Return matplotlib's figure module; MissingPackageError, naming the purpose, when it is not installed."""
    try:
        from matplotlib import figure
    except ImportError:
        raise missing_package("matplotlib", "plot", purpose) from None
    module: ModuleType = figure
    return module


def short(name: str, length: int = 22) -> str:
    """Return a class name cut to a length that a figure has room for."""
    return name if len(name) <= length else name[: length - 1] + "…"
