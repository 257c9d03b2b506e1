"""The layer outputs of a model file, without torch: those of an ONNX model, or of the one a plan was built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.external import check_external_data, load_model
from alexnet.files import sha256_of
from alexnet.metadata import ModelMetadata
from alexnet.onnx_layers import layer_outputs_of_model
from alexnet.sidecar import Sidecar

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerOutputs:
    """The layers of a centre crop by name, in the order of computation, and a note on where they come from.

    `outputs` is None where a file shows none; the note says why.
    """

    outputs: Mapping[str, Floats] | None
    note: str = ""


def layers_of_file(path: Path, metadata: ModelMetadata, picture: npt.NDArray[np.uint8]) -> LayerOutputs:
    """Return the layers of a .onnx or .plan for the centre crop of a picture [S, S, 3].

    An engine fuses its layers away, so a plan shows its answers only; its layers are those of the ONNX model that
    it was built from, when that stands beside it, its digest the one in the sidecar.
    """
    if path.suffix.lower() != ".plan":
        return LayerOutputs(_layers_of_onnx(path, metadata, picture))
    sidecar = Sidecar.load(path)
    built_from = path.with_name(Path(sidecar.onnx_name).name)
    if not built_from.is_file() or sha256_of(built_from) != sidecar.onnx_sha256:
        return LayerOutputs(
            None,
            f"{path.name} is a plan, which shows its answers only, and {built_from.name}, which it was built from, "
            "is not beside it",
        )
    note = f"{path.name} is a plan, which shows its answers only: the layers are those of {built_from.name} beside it"
    return LayerOutputs(_layers_of_onnx(built_from, metadata, picture), note)


def _layers_of_onnx(path: Path, metadata: ModelMetadata, picture: npt.NDArray[np.uint8]) -> Mapping[str, Floats]:
    """Return the layers of an ONNX file; ModelError for external data that may not be opened."""
    model = load_model(path)
    check_external_data(model, path)
    return layer_outputs_of_model(model, metadata, picture, path.parent)
