"""The exported graph in float16 or bfloat16: a pass over the float32 graph that leaves every tensor's type explicit.

TensorRT takes precision from the ONNX alone, and other runtimes read the same file. Which nodes are reduced follows
from what they are and where they stand, not from their names:

- the network is what lies between its first layer with weights and Softmax: convolutions, matrices, ReLU, pooling and
  the arithmetic of normalisation are reduced, and their weights are stored in the reduced type;
- what comes before is float32 (a uint8 pixel less the mean), Softmax and what comes after too (the average);
- operators that only move values (Slice, Concat, Pad, ...) follow: reduced where their input is or a consumer asks for
  it, so that the crops are cut from a picture that is already half the size;
- anything else is float32 between Casts: ONNX's LRN node (it squares its inputs unscaled, which overflows float16
  at 256), and operators of other domains that carry no body.

The lowering of normalisation to a convolution scales by the root of alpha before it squares, so with the paper's
alpha float16 holds the sum of five squares of activations up to 11,000. In which type a runtime adds up the products
of a convolution is the runtime's own affair; the graph says what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from alexnet.bfloat16 import MOVES, element_types, from_bfloat16, to_bfloat16
from alexnet.errors import ModelError
from alexnet.export.onnx_files import infer_shapes

Reduced = Literal["fp16", "bf16"]

TYPES: dict[Reduced, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
TITLES: dict[Reduced, str] = {"fp16": "float16", "bf16": "bfloat16"}
LARGEST: dict[Reduced, float] = {"fp16": 65504.0, "bf16": 3.39e38}
# Conv and the poolings take bfloat16 since this version of ONNX's operators.
BFLOAT16_OPSET = 22

LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
ARITHMETIC = LAYERS | {
    "Add",
    "AveragePool",
    "Div",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "MaxPool",
    "Mul",
    "Pow",
    "Relu",
    "Sqrt",
    "Sub",
}


def cast_model(model: onnx.ModelProto, precision: Reduced) -> onnx.ModelProto:
    """Return a float32 model with its network in float16 or bfloat16, shapes and types inferred strictly.

    The types of input and output stay. Every Cast has a name: `TENSOR/to_fp16` after the tensor it reduces,
    `NODE/to_float` before the node that needs float32. A bfloat16 model is of opset 22 at least, the first whose Conv
    takes that type. Raises ModelError, with the weight's name, when one exceeds the range of the reduced type.
    """
    types, weights = element_types(model), {entry.name: entry for entry in model.graph.initializer}
    inputs, outputs = ({entry.name for entry in ends} for ends in (model.graph.input, model.graph.output))
    made = _Pass(precision, types, weights, made={(name, TensorProto.FLOAT): name for name in inputs})
    for node, is_reduced in zip(model.graph.node, _reduced_nodes(model), strict=True):
        made.append(node, TYPES[precision] if is_reduced else TensorProto.FLOAT, outputs)
    opaque = {name for node in model.graph.node if _opaque(node, _bodies(model)) for name in node.output}
    graph = helper.make_graph(
        made.nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        list(made.initialisers.values()),
        # Nothing else says what an operator without a schema gives out, which stays float32.
        value_info=[entry for entry in model.graph.value_info if entry.name in opaque],
    )
    cast = helper.make_model(
        graph,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    cast.metadata_props.extend(model.metadata_props)
    if precision == "bf16":
        for entry in (*cast.opset_import, *(entry for body in cast.functions for entry in body.opset_import)):
            if entry.domain == "":
                entry.version = max(entry.version, BFLOAT16_OPSET)
    return infer_shapes(cast)


def _bodies(model: onnx.ModelProto) -> set[tuple[str, str]]:
    """Return domain and name of the operators whose bodies the model carries."""
    return {(body.domain, body.name) for body in model.functions}


def _opaque(node: onnx.NodeProto, bodies: set[tuple[str, str]]) -> bool:
    """Return whether a node is of another domain and has no body."""
    return node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in bodies


def _reduced_nodes(model: onnx.ModelProto) -> list[bool]:
    """Return for each node, in order, whether it computes in the reduced type."""
    nodes, bodies = model.graph.node, _bodies(model)
    reduced = [False] * len(nodes)
    inside: set[str] = set()  # tensors that descend from a layer with weights
    after: set[str] = set()  # tensors that descend from a Softmax
    low: set[str] = set()  # tensors that reduced nodes make
    for place, node in enumerate(nodes):
        own = not node.domain
        layer = own and node.op_type in LAYERS
        if node.op_type == "Softmax" or after.intersection(node.input):
            after.update(node.output)
            continue
        if layer or inside.intersection(node.input):
            inside.update(node.output)
            known = node.op_type in ARITHMETIC if own else (node.domain, node.op_type) in bodies
            reduced[place] = known or (own and node.op_type in MOVES and bool(low.intersection(node.input)))
        if reduced[place]:
            low.update(node.output)
    asked = {name for node, is_reduced in zip(nodes, reduced, strict=True) if is_reduced for name in node.input}
    for place, node in reversed(list(enumerate(nodes))):
        if not node.domain and node.op_type in MOVES and asked.intersection(node.output):
            reduced[place] = True
            asked.update(node.input)
    return reduced


@dataclass
class _Pass:
    """The nodes and weights of the cast graph in the making.

    `made` gives, for a tensor of the float32 graph and a type, the name of what holds its values in that type; it
    starts with the graph's inputs.
    """

    precision: Reduced
    types: Mapping[str, int]
    weights: Mapping[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    made: dict[tuple[str, int], str] = field(default_factory=dict)

    def append(self, node: onnx.NodeProto, kind: int, outputs: set[str]) -> None:
        """Append a node that computes in `kind`, after the Casts that its inputs need; `outputs` stay float32."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in enumerate(node.input):
            copy.input[place] = self.held(name, kind, node.name or node.output[0])
        self.nodes.append(copy)
        for place, name in enumerate(node.output):
            if self.types.get(name) != TensorProto.FLOAT:
                continue
            if kind != TensorProto.FLOAT and name in outputs:
                copy.output[place] = self.made[name, kind] = f"{name}/{self.precision}"
                self.cast(copy.output[place], TensorProto.FLOAT, f"{name}/to_float", name)
                self.made[name, TensorProto.FLOAT] = name
            else:
                self.made[name, kind] = name

    def held(self, name: str, kind: int, consumer: str) -> str:
        """Return what holds the tensor `name` in `kind`, cast or stored when nothing does yet; integers as they are."""
        if self.types.get(name) != TensorProto.FLOAT:
            if name in self.weights:
                self.initialisers[name] = self.weights[name]
            return name
        if (name, kind) not in self.made:
            if name in self.weights:
                self.made[name, kind] = self.store(self.weights[name], kind)
            elif kind == TensorProto.FLOAT:
                source = self.made[name, TYPES[self.precision]]
                self.made[name, kind] = self.cast(source, kind, f"{consumer}/to_float")
            else:
                source = self.made[name, TensorProto.FLOAT]
                self.made[name, kind] = self.cast(source, kind, f"{name}/to_{self.precision}")
        return self.made[name, kind]

    def cast(self, source: str, kind: int, title: str, output: str | None = None) -> str:
        """Append a Cast of `source` to `kind` and return its output, named like the node unless given."""
        if any(node.name == title for node in self.nodes):
            title = f"{title}/{source}"
        self.nodes.append(helper.make_node("Cast", [source], [output or title], title, to=kind))
        return output or title

    def store(self, weight: onnx.TensorProto, kind: int) -> str:
        """Store a float32 weight in `kind` and return its name: its own the first time, with the type's the second."""
        name = f"{weight.name}/{self.precision}" if weight.name in self.initialisers else weight.name
        stored = weight if kind == TensorProto.FLOAT else rounded(weight, self.precision)
        self.initialisers[name] = onnx.TensorProto()
        self.initialisers[name].CopyFrom(stored)
        self.initialisers[name].name = name
        return name


def rounded(weight: onnx.TensorProto, precision: Reduced) -> onnx.TensorProto:
    """Return a float32 weight in the reduced type, rounded to nearest, ties to even.

    Raises ModelError when a finite value exceeds the type's range.
    """
    values = numpy_helper.to_array(weight)
    if precision == "fp16":
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        found, raw = half.astype(np.float32), half.astype("<f2").tobytes()
    else:
        bits = to_bfloat16(values)
        found, raw = from_bfloat16(bits), bits.astype("<u2").tobytes()
    if not np.array_equal(np.isfinite(found), np.isfinite(values)):
        raise ModelError(
            f"{weight.name} reaches {np.abs(values).max():.3g}, {TITLES[precision]} ends at {LARGEST[precision]:g}; "
            f"export with --precision {'bf16' if precision == 'fp16' else 'fp32'}"
        )
    return helper.make_tensor(weight.name, TYPES[precision], values.shape, raw, raw=True)
