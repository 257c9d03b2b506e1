"""Reduced precision on a CPU: rounding to bfloat16, and graphs that store as an engine does and run in ONNX Runtime.

ONNX Runtime's CPU provider has no bfloat16 arithmetic. It runs float16 graphs in float32 and drops the roundings
between its nodes, so that it neither rounds nor overflows where an engine does. `as_stored` writes each rounding out
as a pair of Casts, which every level of its optimisation keeps: sums are float32, what is stored is rounded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import ModelError

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint16]

REDUCED = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

# Operators that only move values: what they give out are values they were given.
MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# Those, and what chooses among its inputs and zero: rounded inputs leave nothing to round.
EXACT = MOVES | {"Relu", "MaxPool", "GlobalMaxPool", "Max", "Min"}


def to_bfloat16(values: Floats) -> Bits:
    """Return the bits of float32 `values` rounded to bfloat16, to nearest and ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def from_bfloat16(bits: Bits) -> Floats:
    """Return bfloat16 `bits` as the float32 values they stand for."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type (TensorProto.FLOAT, ...) of every tensor of a model.

    Inferred by ONNX; what it cannot infer, the output of an operator without a schema and what follows from it, has
    the type of its node's first input.
    """
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {entry.name: entry.data_type for entry in graph.initializer}
    for entry in (*graph.input, *graph.output, *graph.value_info):
        if entry.type.tensor_type.elem_type:
            types[entry.name] = entry.type.tensor_type.elem_type
    for node in graph.node:
        for name in node.output:
            if name not in types and node.input and node.input[0] in types:
                types[name] = types[node.input[0]]
    return types


def runnable_on_cpu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that ONNX Runtime's CPU provider can run: `as_stored` of a bfloat16 one, any other as it is.

    The tensors' names and what they hold are the same; those that were bfloat16 are float32.
    """
    return as_stored(model) if TensorProto.BFLOAT16 in element_types(model).values() else model


def as_stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model that rounds every tensor which `model` stores in float16 or bfloat16.

    Its answers are those of an engine that stores in the reduced type and sums in float32, an overflow of float16
    included. Tensors keep their names and hold the rounded values. A model with nothing reduced is returned itself.
    Raises ModelError when the weights stand in another file and were not loaded.
    """
    types = element_types(model)
    if not set(REDUCED) & set(types.values()):
        return model
    if model.functions:
        # Their bodies round inside too.
        stored = onnx.inliner.inline_local_functions(model)
        types = element_types(stored)
    else:
        stored = onnx.ModelProto()
        stored.CopyFrom(model)
    graph = stored.graph
    for entry in graph.initializer:
        if entry.data_type in REDUCED:
            entry.CopyFrom(numpy_helper.from_array(_values(entry), entry.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type in REDUCED:
                attribute.t.CopyFrom(numpy_helper.from_array(_values(attribute.t), attribute.t.name))
    nodes = [made for node in graph.node for made in _rounding(node, types)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for entry in (*graph.input, *graph.output):
        if entry.type.tensor_type.elem_type in REDUCED:
            entry.type.tensor_type.elem_type = TensorProto.FLOAT
    return stored


def _rounding(node: onnx.NodeProto, types: dict[str, int]) -> list[onnx.NodeProto]:
    """Return the node in float32, followed by a round trip through the reduced type of each output it rounds."""
    if node.op_type in EXACT and not node.domain:
        return [node]
    made = [node]
    for place, name in enumerate(node.output):
        reduced = types.get(name)
        if reduced not in REDUCED:
            continue
        node.output[place] = f"{name}/unrounded"
        made += [
            helper.make_node("Cast", [f"{name}/unrounded"], [f"{name}/stored"], f"{name}/stored", to=reduced),
            helper.make_node("Cast", [f"{name}/stored"], [name], f"{name}/loaded", to=TensorProto.FLOAT),
        ]
    if node.op_type == "Cast" and not node.domain and len(made) > 1:
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return made


def _values(tensor: onnx.TensorProto) -> Floats:
    """Return a reduced tensor's values as float32."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"the values of {tensor.name!r} stand in another file; load the model with its weights")
    if tensor.data_type == TensorProto.FLOAT16:
        return numpy_helper.to_array(tensor).astype(np.float32)
    raw = np.frombuffer(tensor.raw_data, "<u2") if tensor.HasField("raw_data") else np.array(tensor.int32_data, "u2")
    return from_bfloat16(raw).reshape(tuple(tensor.dims))
