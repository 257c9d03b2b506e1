"""Explicit Q/DQ in an exported graph: weights per output channel, activations per tensor, symmetric, biases in float.

ONNX operators: QuantizeLinear and DequantizeLinear, opset 13 for INT8 and 21 for FP8 (E4M3). Weights are stored
quantised, followed by DequantizeLinear alone, so that the file is a quarter of its float32 size. ONNX Runtime's own
`quantize_static` knows neither thresholds from a mean squared error or for FP8, nor one scale along
convolution, ReLU and pooling, so the nodes are written here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from alexnet.calibration.layers import QuantisedNode, pooled_positive
from alexnet.calibration.mean import with_half_means
from alexnet.calibration.thresholds import LARGEST, Format
from alexnet.export.onnx_files import infer_shapes

TYPES: dict[Format, int] = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
OPSET: dict[Format, int] = {"int8": 13, "fp8": 21}
# Weights of 7 bits: two products of them with 8-bit activations add up within 16 bits, where AVX2 without VNNI
# saturates (255 * 63 * 2 < 32767), so every CPU answers what a GPU does.
SEVEN_BITS = 63.0

Thresholds = Mapping[str, float]


@dataclass(frozen=True)
class QuantiseOptions:
    """The format of the layers; `full_range` uses all 8 bits of INT8 weights instead of 7."""

    format: Format = "int8"
    full_range: bool = False

    @property
    def largest_weight(self) -> float:
        """The quantised number that stands for the largest weight of a channel."""
        return LARGEST[self.format] if self.format == "fp8" or self.full_range else SEVEN_BITS


@dataclass
class _Parts:
    """What the quantised graph is made of: nodes in order, new initialisers, and which tensor now stands for which.

    `made` names what comes out of the Q/DQ of each tensor that has one, `poolings` the ReLUs after poolings.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    poolings: set[str] = field(default_factory=set)


def quantise(
    model: onnx.ModelProto,
    nodes: Sequence[QuantisedNode],
    thresholds: Thresholds,
    options: QuantiseOptions,
    kept: Collection[str] = (),
) -> onnx.ModelProto:
    """Return a copy of the model with Q/DQ around the nodes whose layers are not in `kept`, as it is written.

    `thresholds` are by the names of `source` and `result`. INT8 layers have Q/DQ on their outputs too, with which ONNX
    Runtime and OpenVINO compute them in integers; FP8 layers, like the logits, give their sums as floats. The mean
    image is halved (`alexnet.calibration.mean`), and shapes are inferred.
    """
    chosen = {node.name: node for node in nodes if node.layer not in kept}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    parts = _Parts()
    for node in model.graph.node:
        node = onnx.NodeProto.FromString(node.SerializeToString())
        found = chosen.get(node.name)
        node.input[:] = [parts.stands_for.get(name, name) for name in node.input]
        if found is None:
            parts.nodes.append(node)
            continue
        if options.format == "int8" and pooled_positive(found.input, makers):
            node.input[0] = _float_pooling(parts, node.input[0])
        node.input[0] = _activation(parts, node.input[0], thresholds[found.source], options.format)
        node.input[1] = _weight(parts, weights[found.weight], options)
        parts.nodes.append(node)
        if options.format == "int8" and found.result is not None:
            parts.stands_for[found.output] = _activation(parts, found.output, thresholds[found.result], "int8")
    return infer_shapes(with_half_means(_model(model, parts, OPSET[options.format])))


def _float_pooling(parts: _Parts, pooled: str) -> str:
    """Append a ReLU, once, to a pooling that has no value below 0, and return its output, which is the same.

    ONNX Runtime moves Q to before a pooling, which in 8 bits has no fast kernel (ten times the time of the float one);
    across a ReLU it does not.
    """
    name = f"{pooled}/positive"
    if name not in parts.poolings:
        parts.poolings.add(name)
        parts.nodes.append(helper.make_node("Relu", [pooled], [name], name=name))
    return name


def _activation(parts: _Parts, tensor: str, limit: float, form: Format) -> str:
    """Append the Q/DQ of a tensor, once, and return the name of what comes out of it."""
    if tensor in parts.made:
        return parts.made[tensor]
    name = f"{tensor}/dequantised"
    parts.made |= {tensor: name, name: name}
    scale = np.array(max(limit / LARGEST[form], np.finfo(np.float32).tiny), dtype=np.float32)
    _constant(parts, numpy_helper.from_array(scale, f"{tensor}/scale"))
    ends, kind = [f"{tensor}/scale"], dict[str, Any]()
    if form == "int8":
        _constant(parts, helper.make_tensor(f"{tensor}/zero", TYPES[form], [], b"\0", raw=True))
        ends.append(f"{tensor}/zero")
    else:
        # ONNX Runtime 1.32 takes a zero point of FP8 for one of uint8 and drops a ReLU before it.
        kind["output_dtype"] = TYPES[form]
    whole = f"{tensor}/quantised"
    parts.nodes.append(helper.make_node("QuantizeLinear", [tensor, *ends], [whole], name=whole, **kind))
    parts.nodes.append(helper.make_node("DequantizeLinear", [whole, *ends], [name], name=name))
    return name


def _weight(parts: _Parts, tensor: onnx.TensorProto, options: QuantiseOptions) -> str:
    """Add quantised weights with the node that gives them back, once, and return the name of its output."""
    name = tensor.name
    if f"{name}/quantised" not in parts.initialisers:
        whole, scales = quantised_weight(numpy_helper.to_array(tensor), options)
        kind, form = TYPES[options.format], list(whole.shape)
        _constant(parts, helper.make_tensor(f"{name}/quantised", kind, form, whole.tobytes(), raw=True))
        _constant(parts, numpy_helper.from_array(scales, f"{name}/scales"))
        ends = [f"{name}/quantised", f"{name}/scales"]
        if options.format == "int8":
            _constant(parts, helper.make_tensor(f"{name}/zeros", kind, [len(scales)], bytes(len(scales)), raw=True))
            ends.append(f"{name}/zeros")
        parts.nodes.append(
            helper.make_node("DequantizeLinear", ends, [f"{name}/dequantised"], f"{name}/dequantised", axis=0)
        )
    return f"{name}/dequantised"


def quantised_weight(
    weight: npt.NDArray[np.float32], options: QuantiseOptions
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float32]]:
    """Return weights [O, ...] in the format, and the scale float32 [O] of each output channel.

    The largest weight of a channel takes the largest number; a channel of zeros has scale 1.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scales = (np.where(largest > 0, largest, options.largest_weight) / options.largest_weight).astype(np.float32)
    steps = weight / scales.reshape(-1, *[1] * (weight.ndim - 1))
    if options.format == "int8":
        return np.clip(np.rint(steps), -127, 127).astype(np.int8), scales
    return np.clip(steps, -LARGEST["fp8"], LARGEST["fp8"]).astype(ml_dtypes.float8_e4m3fn), scales


def _constant(parts: _Parts, tensor: onnx.TensorProto) -> None:
    """Add an initialiser."""
    parts.initialisers[tensor.name] = tensor


def _model(model: onnx.ModelProto, parts: _Parts, opset: int) -> onnx.ModelProto:
    """Return the model with the new nodes, and of its initialisers those that are still read."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    read = {name for node in parts.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(parts.nodes)
    graph.initializer.extend([*kept, *parts.initialisers.values()])
    for entry in _operators(made):
        entry.version = max(opset, entry.version)
    return made


def _operators(model: onnx.ModelProto) -> Iterator[onnx.OperatorSetIdProto]:
    """Yield the entries that say the version of ONNX's own operators, those of the model's functions too."""
    for holder in (model, *model.functions):
        yield from (entry for entry in holder.opset_import if entry.domain in ("", "ai.onnx"))
