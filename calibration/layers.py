"""Which nodes of an exported graph are quantised: the convolutions and matrices of the layer table.

The banded convolution of response normalisation has weights too and is none of them; nor are the mean and softmax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from alexnet.errors import InputError, ModelError

_LAYER = re.compile(r"(net\d+/)?(?:stem/(?:\w+/)+)?((?:conv|fc)\d+)")
# What leaves each value as it is or sets it to 0, so that a tensor on a format's grid stays on it.
_ON_GRID = ("Relu", "MaxPool", "Flatten")
# What gives no value below 0 of anything, and what gives none of inputs that have none.
_POSITIVE = ("Relu", "Sqrt", "Softmax")
_KEEPS_SIGN = ("MaxPool", "LRN", "ResponseNorm", "Slice", "Flatten", "Concat", "Mul", "Div")
_OF_ALL_INPUTS = ("Concat", "Mul", "Div")


@dataclass(frozen=True)
class QuantisedNode:
    """One Conv or Gemm: its name, its layer (conv1, net2/fc6), and the tensors of its input, weights and output.

    `source` is the tensor whose statistics place the input's threshold, and `result` the one for the output's: where
    only a ReLU reads it, that of the ReLU, because what is below 0 is lost there anyway; None for the logits.
    """

    name: str
    layer: str
    input: str
    weight: str
    output: str
    source: str
    result: str | None


def quantisable(model: onnx.ModelProto) -> list[QuantisedNode]:
    """Return the nodes of a model's layers in the order of computation; ModelError when there are none."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    chosen = {
        node.name: match[1] + match[2] if match[1] else match[2]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and node.input[1] in weights and (match := _LAYER.fullmatch(node.name))
    }
    if not chosen:
        raise ModelError("the model has no convolution or matrix named as a layer; export it again")
    last = {layer.rpartition("/")[0]: layer for layer in chosen.values()}
    results: dict[str, str] = {}
    found = []
    for node in graph.node:
        if node.name not in chosen:
            continue
        layer, output = chosen[node.name], node.output[0]
        after = readers.get(output, [])
        result = after[0].output[0] if len(after) == 1 and after[0].op_type == "Relu" else output
        logits = layer == last[layer.rpartition("/")[0]]
        if not logits:
            results[output] = result
        source = _source(node.input[0], makers, results)
        found.append(
            QuantisedNode(node.name, layer, node.input[0], node.input[1], output, source, None if logits else result)
        )
    return found


def _source(tensor: str, makers: dict[str, onnx.NodeProto], results: dict[str, str]) -> str:
    """Return the statistics of a layer's input: those of the output below, when nothing between leaves its grid."""
    name = tensor
    while (maker := makers.get(name)) is not None:
        if name in results:
            return results[name]
        if maker.op_type not in _ON_GRID:
            break
        name = maker.input[0]
    return tensor


def tensors_of(nodes: Sequence[QuantisedNode]) -> list[str]:
    """Return the tensors whose statistics place the nodes' thresholds, sorted."""
    return sorted({node.source for node in nodes} | {node.result for node in nodes if node.result})


def pooled_positive(tensor: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Return whether a tensor comes out of a pooling and has no value below 0, whatever the weights."""
    maker = makers.get(tensor)
    return maker is not None and maker.op_type == "MaxPool" and _never_negative(tensor, makers)


def _never_negative(tensor: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Return whether the operators up to a tensor leave no value below 0 in it."""
    maker = makers.get(tensor)
    if maker is None:
        return False
    if maker.op_type in _POSITIVE:
        return True
    sources = maker.input if maker.op_type in _OF_ALL_INPUTS else maker.input[:1]
    return maker.op_type in _KEEPS_SIGN and all(_never_negative(name, makers) for name in sources)


def layers_of(nodes: Sequence[QuantisedNode]) -> list[str]:
    """Return the layers of the nodes, each once, in the order of computation."""
    return list(dict.fromkeys(node.layer for node in nodes))


def kept_layers(nodes: Sequence[QuantisedNode], names: Sequence[str]) -> frozenset[str]:
    """Return the layers that names of --keep mean: `conv1` in every network of an ensemble, or `net2/conv1` alone.

    Raises InputError for a name that is no layer of the model.
    """
    layers = layers_of(nodes)
    kept: set[str] = set()
    for name in names:
        meant = [layer for layer in layers if name in (layer, layer.rpartition("/")[2])]
        if not meant:
            raise InputError(f"the model has no layer {name!r} to keep in float, it has {', '.join(layers)}")
        kept.update(meant)
    return frozenset(kept)
