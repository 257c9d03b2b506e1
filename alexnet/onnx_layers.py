"""The layers of an ONNX model as arrays: its named tensors made outputs, and run for one picture."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from alexnet.cpu_session import cpu_session
from alexnet.crops import centre_index
from alexnet.layers import is_layer
from alexnet.metadata import INPUT, ModelMetadata

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_PREFIX = "layer_output/"


def layer_names(model: onnx.ModelProto) -> list[str]:
    """Return the tensors of a model's graph that are layers of the table, in the order of its nodes."""
    return [name for node in model.graph.node for name in node.output if is_layer(name)]


def tapped(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a copy of the model whose outputs are the tensors `names` only, each cast to float: `layer_output/NAME`.

    Half-precision tensors become float by an ONNX Cast; what else the graph computes stays as it is.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in names:
        copy.graph.node.append(helper.make_node("Cast", [name], [_PREFIX + name], to=TensorProto.FLOAT))
        copy.graph.output.append(helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, None))
    return copy


def layer_outputs_of_model(
    model: onnx.ModelProto, metadata: ModelMetadata, picture: Pixels, folder: Path | None = None
) -> dict[str, Floats]:
    """Return the layers of an ONNX model for the centre crop of a picture [S, S, 3], in the order of its nodes.

    Each is float32 [C, H, W] or [C]. A model of a fixed batch is given the picture as often as it takes. `folder`
    is where the model's external data are. Left out are tensors that do not hold one entry for each crop.
    Raises ModelError where ONNX Runtime cannot run the model.
    """
    names = layer_names(model)
    if not names:
        return {}
    batch = metadata.batch or 1
    pictures = np.repeat(picture[None], batch, axis=0)
    session = cpu_session(tapped(model, names), folder)
    values = session.run([_PREFIX + name for name in names], {INPUT: metadata.fed(pictures)})
    place = centre_index(metadata.crops, metadata.stem) * batch
    return {
        name: np.asarray(value[place], dtype=np.float32)
        for name, value in zip(names, values, strict=True)
        if len(value) == metadata.crops * batch
    }
