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
from onnx import TensorProto, helper

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

    Inferred by ONNX, without the weights' values; what it cannot infer, the output of an operator without a schema
    and what follows from it, has the type of its node's first input.
    """
    graph = model.graph
    types = {entry.name: entry.data_type for entry in graph.initializer}
    constants = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    light = helper.make_model(
        helper.make_graph(graph.node, "types", [*graph.input, *constants], graph.output, value_info=graph.value_info),
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    inferred = onnx.shape_inference.infer_shapes(light).graph
    for entry in (*inferred.input, *inferred.output, *inferred.value_info):
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
    """Return a model that computes in float32 and rounds every tensor which `model` stores in float16 or bfloat16.

    Its answers are those of an engine that stores in the reduced type and sums in float32, an overflow of float16
    included. Tensors keep their names and hold the rounded values as float32; the weights keep their type and size,
    and each is read through a Cast, so they may stand in another file. A model with nothing reduced is returned itself.
    """
    if not set(REDUCED) & set(element_types(model).values()):
        return model
    stored = onnx.ModelProto()
    # The bodies of functions round inside too.
    stored.CopyFrom(onnx.inliner.inline_local_functions(model) if model.functions else model)
    graph, types = stored.graph, element_types(stored)
    reduced = [entry.name for entry in graph.initializer if entry.data_type in REDUCED]
    loaded = {name: f"{name}/loaded" for name in reduced}
    nodes = [helper.make_node("Cast", [name], [to], to, to=TensorProto.FLOAT) for name, to in loaded.items()]
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = loaded.get(name, name)
        nodes += _rounding(node, types)
    del graph.node[:]
    graph.node.extend(nodes)
    # The shapes stay: those after an operator without a schema stand nowhere else.
    for entry in (*graph.input, *graph.output, *graph.value_info):
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
