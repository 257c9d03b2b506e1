"""The proof of parity: the ONNX model in ONNX Runtime against the training model, on real pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from alexnet.cpu_session import cpu_session, runtime_version
from alexnet.errors import ParityError
from alexnet.layers import LAYER_TOLERANCE, LayerComparison, compare_layers
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.onnx_layers import layer_outputs_of_model
from alexnet.parity import TOLERANCE, Comparison, ParityPack, compare

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Batches that the proof runs beside the largest: one picture, an even and an odd number.
BATCHES = (1, 2, 7)
# The largest batch: 320 crops of the paper's network take 3 to 5 GB. A run keeps this many samples.
LARGEST = 32


@dataclass(frozen=True)
class Proof:
    """The figures of a proof that held.

    `comparison` is that of all pictures, its largest difference that of the worst batch size; `batches` holds one
    for each batch size, in pictures; `differences` is each picture's largest difference, by name; `layers` compares
    the layers of the first picture's centre crop; `runtime` names what ran the model.
    """

    comparison: Comparison
    batches: Mapping[int, Comparison]
    differences: Mapping[str, float]
    layers: LayerComparison
    tolerance: float
    runtime: str

    def to_values(self) -> dict[str, Any]:
        """Return plain JSON values: what the model's metadata keep as `parity`."""
        return {
            **self.comparison.to_values(),
            "tolerance": self.tolerance,
            "runtime": self.runtime,
            "batches": {str(batch): comparison.to_values() for batch, comparison in self.batches.items()},
            "layers": self.layers.to_values(),
        }


def prove(model: onnx.ModelProto, metadata: ModelMetadata, pack: ParityPack, path: Path | None = None) -> Proof:
    """Check the model's form, run it at several batch sizes, and compare answers and layers with the pack's.

    `path` is where the model is on disk, needed when it keeps its weights beside it. A model of a fixed batch is run
    at that size only. Raises ParityError when a probability differs by more than the
    tolerance of the model's precision, or a layer by more than its own: it says by how much, on which picture, and
    which layer is the first that differs.
    """
    # onnx takes a path where a model is too large for its memory form.
    onnx.checker.check_model(str(path) if path else model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    tolerance = TOLERANCE[metadata.precision]
    folder = path.parent if path else None
    session = cpu_session(model, folder)
    number = len(pack.names)
    batches, found = {}, pack.probabilities
    sizes = _sizes(metadata.batch, number)
    for batch in sizes:
        # The largest size sees every picture; smaller ones the first, in two rounds: more adds time, not proof.
        seen = number if batch == sizes[-1] else min(number, 2 * batch)
        found = answers(session, metadata, pack.pictures[:seen], batch)
        batches[batch] = compare(pack.probabilities[:seen], found, pack.names[:seen])
    layers = compare_layers(
        pack.layers,
        layer_outputs_of_model(model, metadata, pack.pictures[0], folder),
        LAYER_TOLERANCE[metadata.precision],
    )
    worst = max(batches.values(), key=lambda result: result.largest)
    if not worst.largest <= tolerance:
        raise ParityError(
            f"the ONNX model differs from the training model by {worst.largest:.2g} in a probability of "
            f"{worst.worst}, expected at most {tolerance:g} ({worst.top1:.1%} of {worst.pictures} pictures keep their "
            f"best class); {layers.located()}; nothing was written: report this with the run's recipe.toml"
        )
    if layers.first is not None:
        raise ParityError(
            f"the ONNX model's probabilities are within {worst.largest:.2g} of the training model's, but "
            f"{layers.located()}; nothing was written: report this with the run's recipe.toml"
        )
    comparison = replace(batches[sizes[-1]], largest=worst.largest, worst=worst.worst)
    each = dict(zip(pack.names, np.abs(pack.probabilities - found).max(axis=1).tolist(), strict=True))
    return Proof(comparison, batches, each, layers, tolerance, runtime_version())


def _sizes(fixed: int | None, number: int) -> list[int]:
    """Return the batch sizes to run `number` pictures at, the largest last: the fixed one, or all of the proof's."""
    return [fixed] if fixed is not None else sorted({min(size, number) for size in (*BATCHES, LARGEST)})


def answers(session: Any, metadata: ModelMetadata, pictures: Pixels, batch: int) -> Floats:
    """Return the probabilities [P, classes] of pictures [P, S, S, 3], run `batch` at a time.

    The last batch of a model whose batch is fixed is filled up with the first picture, whose answers are dropped.
    """
    parts = []
    for first in range(0, len(pictures), batch):
        part = pictures[first : first + batch]
        missing = batch - len(part) if metadata.batch is not None else 0
        filled = np.concatenate([part, np.repeat(pictures[:1], missing, axis=0)]) if missing else part
        parts.append(session.run([OUTPUT], {INPUT: metadata.fed(filled)})[0][: len(part)])
    return np.concatenate(parts)
