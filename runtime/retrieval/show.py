"""Figure 4, right, as a picture: each query with what was found for it, the nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.figures import import_figures, short

Pixels = npt.NDArray[np.uint8]
# Pictures [S, S, 3] one by one, or as one array.
Pictures = Sequence[Pixels] | Pixels


def draw(queries: Pictures, found: Sequence[Pictures], labels: Sequence[str], named: Sequence[Sequence[str]]) -> Any:
    """Return the figure: a row a query [S, S, 3], the query apart from its neighbours, each under its class."""
    across = 1 + max(len(row) for row in found)
    figures = import_figures("a picture of neighbours")
    figure = figures.Figure(figsize=(1.45 * (across + 0.4), 1.7 * len(queries)), layout="constrained")
    widths = [1.0, 0.12, *[1.0] * (across - 1)]
    axes = figure.subplots(len(queries), across + 1, squeeze=False, width_ratios=widths)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (query, pictures) in enumerate(zip(queries, found, strict=True)):
        axes[row][0].imshow(query)
        axes[row][0].set_title(short(labels[row], 16), fontsize=9, fontweight="bold")
        for place, picture in enumerate(pictures):
            axes[row][place + 2].imshow(picture)
            axes[row][place + 2].set_title(short(named[row][place], 16), fontsize=9)
    return figure
