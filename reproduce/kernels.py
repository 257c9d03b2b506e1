"""Figure 3: the kernels of the first layer, column by column, and how much of each is colour.

Section 6.1 (and the caption): the kernels of one GPU turn out largely colour-agnostic, those of the other largely
colour-specific, whatever the random start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from alexnet.architecture import layer_table
from alexnet.errors import ModelError
from alexnet.external import load_model
from alexnet.metadata import ModelMetadata
from alexnet.recipe_file import recipe_from_values
from alexnet.reproduce.page import Findings, facts_of, import_figures
from alexnet.run import Run

Floats = npt.NDArray[np.float32]
PAPER = (
    "the top 48 kernels were learned on GPU 1, the bottom 48 on GPU 2; those of GPU 1 are largely colour-agnostic, "
    "those of GPU 2 largely colour-specific (Figure 3, section 6.1)"
)
# Kernels in a row of the figure, as in the paper.
ROW = 16
# Standard deviations of a kernel that span black to white.
SPAN = 2.5


def kernels_of(path: Path) -> tuple[Floats, int, str]:
    """Return conv1's kernels [O, 3, k, k] of a run or an ONNX model, its columns, and the digest of the weights.

    Raises ModelError for an ensemble and for a model whose kernels are not stored as floats.
    """
    if path.is_dir():
        from alexnet.export.source import source_from_run

        source = source_from_run(Run(path))
        columns = source.network.architecture.columns
        return source.numbers().weights["conv1.weight"], columns, source.checkpoint_sha256
    model = load_model(path)
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, str(path))
    found = [tensor for tensor in model.graph.initializer if tensor.name == "conv1.weight"]
    if not found:
        raise ModelError(
            f"{path} has no conv1.weight of its own, being an ensemble or quantised; give the run or its float32 model"
        )
    columns = layer_table(recipe_from_values(metadata.recipe).network).columns
    kernels = numpy_helper.to_array(found[0], str(path.parent)).astype(np.float32)
    return kernels, columns, metadata.checkpoint_sha256


def colourfulness(kernels: Floats) -> Floats:
    """Return for each kernel [O, 3, k, k] the share of its variance that is not common to the three colours, 0 to 1."""
    centred = kernels.astype(np.float64) - kernels.mean(axis=(1, 2, 3), keepdims=True)
    whole = (centred**2).mean(axis=(1, 2, 3))
    grey = (centred.mean(axis=1) ** 2).mean(axis=(1, 2))
    share: Floats = np.where(whole > 0, 1.0 - grey / np.where(whole > 0, whole, 1.0), 0.0).astype(np.float32)
    return share


def reproduce_kernels(path: Path) -> Findings:
    """Return Figure 3 of a run or a model, and the colourfulness of each column."""
    kernels, columns, digest = kernels_of(path)
    blocks = np.split(kernels, columns)
    shares = [colourfulness(block) for block in blocks]
    means = [float(share.mean()) for share in shares]
    table = [("column", "kernels", "mean share of colour", "kernels that are mostly colour (over a half)")]
    for place, share in enumerate(shares, start=1):
        table.append((str(place), str(len(share)), f"{share.mean():.1%}", f"{int((share > 0.5).sum())}"))
    said = ", ".join(f"{mean:.1%} in column {place}" for place, mean in enumerate(means, start=1))
    size = kernels.shape[2]
    return Findings(
        name="kernels",
        title="Figure 3: the kernels of the first layer",
        paper=PAPER,
        ours=f"mean share of a kernel's variance that is colour: {said} ({path})",
        table=table,
        values={"colourfulness": [[round(float(value), 6) for value in share] for share in shares]},
        picture=draw(blocks),
        shown=f"{len(kernels)} kernels of {size} x {size} x 3 in {columns} blocks, one a column of the network",
        facts=facts_of(None, ("onnx",), weights=digest),
    )


def normalised(kernels: Floats) -> Floats:
    """Return kernels as pictures [O, k, k, 3] of 0 to 1: each less its mean, by its own standard deviation."""
    centred = kernels - kernels.mean(axis=(1, 2, 3), keepdims=True)
    spread = kernels.std(axis=(1, 2, 3), keepdims=True)
    shown: Floats = np.clip(centred / np.where(spread > 0, spread, 1.0) / (2 * SPAN) + 0.5, 0.0, 1.0)
    return shown.transpose(0, 2, 3, 1)


def row_of(number: int) -> int:
    """Return how many of a block's kernels stand in a row: 16 as in the paper, or fewer where that fills the rows."""
    return next((width for width in range(min(ROW, number), 7, -1) if number % width == 0), min(ROW, number))


def draw(blocks: list[Floats]) -> Any:
    """Return the figure: blocks of rows of 16 kernels or of what divides them, one block a column."""
    size = blocks[0].shape[2]
    number = len(blocks[0])
    across = row_of(number)
    rows = len(blocks) * -(-number // across)
    figure = import_figures().Figure(figsize=(8.0, 8.0 * (rows + len(blocks)) / across * 0.98), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(blocks), 1))
    for place, (axis, block) in enumerate(zip(axes, blocks, strict=True), start=1):
        axis.imshow(mosaic(normalised(block), across, size), interpolation="nearest")
        axis.set_title(f"column {place}" if len(blocks) > 1 else "conv1", fontsize=10, loc="left")
        axis.set_axis_off()
    return figure


def mosaic(pictures: Floats, across: int, size: int) -> Floats:
    """Return pictures [O, k, k, 3] in rows of `across`, a white line between them."""
    rows = -(-len(pictures) // across)
    whole = np.ones((rows * (size + 1) - 1, across * (size + 1) - 1, 3), dtype=np.float32)
    for place, picture in enumerate(pictures):
        y, x = (place // across) * (size + 1), (place % across) * (size + 1)
        whole[y : y + size, x : x + size] = picture
    return whole
