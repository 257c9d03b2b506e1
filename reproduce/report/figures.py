"""The page's pictures as data URIs: curves by matplotlib, kernels, photographs and large matrices by Pillow."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.errors import missing_package
from alexnet.reproduce.kernels import mosaic, normalised, row_of

Pixels = npt.NDArray[np.uint8]

# Pixels to a weight, so that what smooths pictures leaves the kernels' edges.
MAGNIFIED = 4
JPEG_QUALITY = 88
INK, SOFT, BLUE, ORANGE = "#18212c", "#5b6673", "#0b5cad", "#c2410c"
STYLE = {
    "svg.fonttype": "path",
    "font.size": 10.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.edgecolor": "none",
    "legend.framealpha": 1.0,
}


def png_uri(pixels: Pixels) -> str:
    """Return an image uint8 [H, W, 3] or [H, W] as the URI of a PNG."""
    return _uri(pixels, "png", optimize=True)


def jpeg_uri(pixels: Pixels) -> str:
    """Return a picture uint8 [H, W, 3] as the URI of a JPEG."""
    return _uri(pixels, "jpeg", quality=JPEG_QUALITY)


def _uri(pixels: Pixels, form: str, **options: Any) -> str:
    """Return pixels encoded in a format, as a URI."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"


def kernel_block(kernels: npt.NDArray[np.float32]) -> Pixels:
    """Return one column's kernels [K, 3, s, s] as an image, drawn as `alexnet reproduce kernels` does."""
    block = mosaic(normalised(kernels), row_of(len(kernels)), kernels.shape[2])
    pixels = (block * 255).round().astype(np.uint8)
    return pixels.repeat(MAGNIFIED, axis=0).repeat(MAGNIFIED, axis=1)


def confusion_image(counts: npt.NDArray[np.int64]) -> Pixels:
    """Return a confusion matrix as an image uint8 [C, C], a pixel a cell: the darker, the more of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray((255 * (1 - np.sqrt(shares))).round(), dtype=np.uint8)


def import_figures() -> ModuleType:
    """Return matplotlib; MissingPackageError when it is not installed."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise missing_package("matplotlib", "report", "alexnet report") from None
    module: ModuleType = matplotlib
    return module


def curves_uri(
    epochs: Sequence[int], lines: Mapping[str, Sequence[float]], drops: Sequence[int], unit: str, factor: float = 1.0
) -> str:
    """Return curves over the epochs as the URI of an SVG, times `factor`; dotted lines follow the epochs `drops`."""
    matplotlib = import_figures()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": unit}):
        figure = matplotlib.figure.Figure(figsize=(5.0, 3.3), layout="constrained")
        axes = figure.subplots()
        for colour, dash, (name, values) in zip((BLUE, ORANGE), ("-", (0, (5, 1.5))), lines.items(), strict=False):
            scaled = [value * factor for value in values]
            axes.plot(
                epochs, scaled, color=colour, linestyle=dash, linewidth=1.8, label=name, marker="o", markersize=2.5
            )
        for drop in drops:
            axes.axvline(drop + 0.5, color=SOFT, linewidth=0.9, linestyle=":")
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        axes.legend(loc="upper right")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
