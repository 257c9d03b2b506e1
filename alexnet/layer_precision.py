"""The type in which each layer of an ONNX model computes, for strongly typed engines: what the file says."""

from __future__ import annotations

import re

import onnx
from onnx import TensorProto

from alexnet.layers import is_layer

NAMES: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.FLOAT8E4M3FN: "fp8",
}

# Where a layer of a shared stem is computed: stem/whole/, stem/bottom/right/.
_PART_OF_STEM = re.compile(r"^(net\d+/)?stem/(?:\w+/)+")


def layer_precision(model: onnx.ModelProto) -> dict[str, str]:
    """Return the precision of each layer and step by its name, in the order of computation.

    A convolution or matrix whose weights come out of DequantizeLinear computes in the quantised type; any other node
    in that of its output. A layer that crops share is computed in parts, all of one precision, and stands once.
    """
    types = {entry.name: entry.type.tensor_type.elem_type for entry in (*model.graph.value_info, *model.graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        name = _PART_OF_STEM.sub(r"\1", node.name)
        if is_layer(name) and name not in found:
            kind = _quantised(node, makers, types) or types.get(node.output[0]) or _of_weights(node, types)
            found[name] = NAMES.get(kind, "unknown") if kind else "unknown"
    return found


def _quantised(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], types: dict[str, int]) -> int | None:
    """Return the type that a node's weights are stored in before DequantizeLinear, None when they are not."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
        return None
    maker = makers.get(node.input[1])
    while maker is not None and maker.op_type in ("Cast", "Transpose", "Reshape"):
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    source = makers.get(maker.input[0])
    if source is not None and source.op_type == "QuantizeLinear" and len(source.input) > 2:
        return types.get(source.input[2])
    return types.get(maker.input[0])


def _of_weights(node: onnx.NodeProto, types: dict[str, int]) -> int | None:
    """Return the type of a node's weights, where shapes were not inferred."""
    return types.get(node.input[1]) if len(node.input) > 1 else None
