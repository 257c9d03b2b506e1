"""The parity check: a model's answers against those of the training model, from the parity pack, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from alexnet.errors import InputError, ModelError, ParityError
from alexnet.layers import LAYER_TOLERANCE, LayerComparison, compare_layers
from alexnet.metadata import ModelMetadata
from alexnet.parity import TOLERANCE, Comparison, ParityPack, compare, parity_pack_beside
from alexnet.runtime.backends import Backend, BackendOptions, open_backend
from alexnet.runtime.classify import DEFAULT_BATCH
from alexnet.runtime.layers import layers_of_file

Tolerance = TypeVar("Tolerance")


@dataclass(frozen=True)
class Check:
    """What a parity check found: its figures, the tolerance, the backend that answered, and the pack.

    `layers` is None unless they were asked for and the file shows them; `note` says where they come from.
    """

    path: Path
    comparison: Comparison
    tolerance: float
    backend: Backend
    pack: Path
    layers: LayerComparison | None = None
    note: str = ""

    def fault(self) -> ParityError | None:
        """Return the error that says by how much the model differs, and in which layer first; None when it holds."""
        again = "do not use it, write it again with: alexnet export --onnx"
        if not self.comparison.largest <= self.tolerance:
            where = self.layers.located() if self.layers else f"find the layer with: alexnet check {self.path} --layers"
            return ParityError(
                f"{self.path} differs from the training model by {self.comparison.largest:.2g} in a probability of "
                f"{self.comparison.worst}, expected at most {self.tolerance:g} ({self.comparison.top1:.1%} of "
                f"{self.comparison.pictures} pictures keep their best class); {where}; {again}"
            )
        if self.layers and self.layers.first:
            return ParityError(
                f"the probabilities of {self.path} are within {self.comparison.largest:.2g} of the training model's, "
                f"but {self.layers.located()}; {again}"
            )
        return None


def check_model(path: Path, pack_path: Path | None = None) -> Check:
    """Return what `examine_model` finds; ParityError when the model is not the trained one."""
    check = examine_model(path, pack_path)
    if fault := check.fault():
        raise fault
    return check


def examine_model(
    path: Path, pack_path: Path | None = None, *, layers: bool = False, options: BackendOptions | None = None
) -> Check:
    """Run the pictures of a parity pack through a model and compare its answers with the expected ones.

    The pack is the one beside the model unless another is given. With `layers` every layer of the first picture's
    centre crop is compared too. `options` say how the model is opened. Raises ModelError when pack and model come from
    different weights or are of different forms.
    """
    pack_path = pack_path or parity_pack_beside(path)
    backend = open_backend(path, options or BackendOptions())
    pack = ParityPack.load(pack_path)
    metadata = backend.metadata
    _check_fit(path, metadata, pack_path, pack)
    tolerance = tolerance_of(TOLERANCE, metadata.precision, path)
    comparison = compare(pack.probabilities, answers(backend, pack.pictures), pack.names)
    compared, note = None, ""
    if layers:
        if not pack.layers:
            raise InputError(f"{pack_path} holds no layer outputs; write it again with: alexnet export --onnx")
        found = layers_of_file(path, metadata, pack.pictures[0])
        note = found.note
        if found.outputs is not None:
            limit = tolerance_of(LAYER_TOLERANCE, metadata.precision, path)
            compared = compare_layers(pack.layers, found.outputs, limit)
    return Check(path, comparison, tolerance, backend, pack_path, compared, note)


def answers(backend: Backend, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a backend's probabilities [P, classes] for pictures [P, S, S, 3], in batches that it takes."""
    size = min(DEFAULT_BATCH, backend.largest_batch or DEFAULT_BATCH)
    return np.concatenate(
        [backend.probabilities(pictures[first : first + size]) for first in range(0, len(pictures), size)]
    )


def tolerance_of(table: Mapping[str, Tolerance], precision: str, path: Path) -> Tolerance:
    """Return the tolerance of a precision in one of the tables; ModelError when it is not listed."""
    if precision not in table:
        raise ModelError(f"{path} says its precision is {precision!r}, expected one of {', '.join(table)}")
    return table[precision]


def _check_fit(path: Path, metadata: ModelMetadata, pack_path: Path, pack: ParityPack) -> None:
    """Raise ModelError or InputError unless the pack holds what this model should answer."""
    again = "write both again with: alexnet export --onnx"
    if pack.checkpoint_sha256 != metadata.checkpoint_sha256:
        raise ModelError(
            f"{pack_path} was made from checkpoint {pack.checkpoint_sha256[:12]}..., {path} from "
            f"{metadata.checkpoint_sha256[:12]}...; {again}"
        )
    if pack.crops != metadata.crops:
        raise ModelError(
            f"{pack_path} holds answers of {views(pack.crops)} a picture, {path} answers from {views(metadata.crops)}; "
            f"{again}"
        )
    side = metadata.preprocessing.side
    if pack.pictures.shape[1:] != (side, side, 3):
        raise InputError(
            f"{pack_path} holds pictures {pack.pictures.dtype} {pack.pictures.shape}, {path} takes "
            f"uint8 [N, {side}, {side}, 3]; {again}"
        )


def views(crops: int) -> str:
    """Return a number of crops in words: `one crop`, `10 crops`."""
    return "one crop" if crops == 1 else f"{crops} crops"
