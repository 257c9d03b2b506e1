"""Histograms of activations, gathered picture by picture in bounded memory.

A tensor is represented by BINS counts of its absolute values, whatever the number of pictures. When a value exceeds
the histogram's range the range doubles and pairs of bins are added up, so no count is ever estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from alexnet.cpu_session import cpu_session
from alexnet.errors import ModelError
from alexnet.metadata import INPUT, ModelMetadata

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
BINS = 4096
# Pictures run at once: each layer output that is watched is in memory for so many.
BATCH = 4


class Histogram:
    """Counts of the absolute values of one tensor: `counts` int64 [BINS] over 0 to `top`, a power of two.

    `largest` is the exact largest absolute value.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.top = 0.0
        self.largest = 0.0

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        return (np.arange(BINS, dtype=np.float64) + 0.5) * np.float64(self.top / BINS)

    def add(self, values: Floats) -> None:
        """Count the absolute values of a tensor; ModelError when one is not finite."""
        sizes = np.abs(values, dtype=np.float32).ravel()
        largest = float(sizes.max(initial=0.0))
        if not math.isfinite(largest):
            raise ModelError("an activation of the float32 model is NaN or infinite; train or export the model again")
        if largest > 0.0:
            self._reach(largest)
        self.largest = max(self.largest, largest)
        if not self.top:
            self.counts[0] += sizes.size
            return
        bins = np.minimum((sizes * np.float32(BINS / self.top)).astype(np.int64), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def _reach(self, largest: float) -> None:
        """Double the range until `largest` is in it, adding up pairs of bins."""
        if not self.top:
            self.top = 2.0 ** math.ceil(math.log2(largest))
        while largest > self.top:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[BINS // 2 :] = 0
            self.top *= 2.0


def watching(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of the model that gives float tensors of its graph as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    return copy


def batches(places: Sequence[int], metadata: ModelMetadata, size: int = BATCH) -> list[list[int]]:
    """Return places in batches that the model takes; the last of a fixed batch repeats its first picture."""
    size = metadata.batch or size
    parts = [list(places[first : first + size]) for first in range(0, len(places), size)]
    if metadata.batch and parts:
        parts[-1] += parts[-1][:1] * (size - len(parts[-1]))
    return parts


def collect(
    model: onnx.ModelProto,
    metadata: ModelMetadata,
    tensors: Sequence[str],
    places: Sequence[int],
    read: Callable[[Sequence[int]], Pixels],
    count: Callable[[int, int], None],
    folder: Path | None = None,
) -> dict[str, Histogram]:
    """Return the histogram of each tensor over pictures, run through the whole graph: crops as the network sees them.

    `read` gives the pictures at some places; `count` is told how many of how many are done. `folder` is where the
    model's external data are.
    """
    histograms = {name: Histogram() for name in tensors}
    session: Any = cpu_session(watching(model, tensors), folder)
    done = 0
    for part in batches(places, metadata):
        values = session.run(list(tensors), {INPUT: metadata.fed(read(part))})
        for name, value in zip(tensors, values, strict=True):
            histograms[name].add(value)
        done = min(done + len(part), len(places))
        count(done, len(places))
    return histograms
