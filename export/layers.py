"""The layers of one network as ONNX nodes: its numbers, its convolutions and matrices, and the steps after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.architecture import Architecture, Conv, Dropout, MapNorm, Pool, Relu, ResponseNorm, Row, Step
from alexnet.export.builder import GraphBuilder
from alexnet.export.lrn import map_norm, response_norm
from alexnet.export.options import Lowering

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]


@dataclass(frozen=True)
class GraphSource:
    """One network as numbers, free of torch: its layer table, weights, mean and divisor.

    `weights` are the torch module's parameters by name (`conv1.weight` [O, I, k, k], `fc6.weight` [out, in]);
    `mean` is float32 [S, S, 3], and `divisor` what the centred pixels are divided by.
    """

    architecture: Architecture
    weights: Weights
    mean: Floats
    divisor: float = 1.0

    @property
    def side(self) -> int:
        """The side of the pictures in pixels."""
        return int(self.mean.shape[0])


def layer_constants(graph: GraphBuilder, row: Row, weights: Weights, kept: float) -> list[str]:
    """Add a row's weights times `kept`, which dropout or the divisor leaves of its inputs, and its biases."""
    name = row.layer.name
    matrix = weights[f"{name}.weight"] * np.float32(kept)
    return [graph.constant(f"{name}.weight", matrix), graph.constant(f"{name}.bias", weights[f"{name}.bias"])]


def convolution(graph: GraphBuilder, x: str, row: Row, constants: list[str], pads: list[int]) -> str:
    """Append a row's convolution of `x` with zeros `pads` (top, left, bottom, right); ONNX Conv."""
    layer = row.layer
    assert isinstance(layer, Conv)
    window, stride = [layer.size] * 2, [layer.stride] * 2
    return graph.node(
        "Conv", [x, *constants], layer.name, kernel_shape=window, strides=stride, pads=pads, group=row.groups
    )


def linear_part(graph: GraphBuilder, x: str, row: Row, weights: Weights, kept: float) -> str:
    """Append a row's convolution or matrix (ONNX Conv, Gemm)."""
    constants = layer_constants(graph, row, weights, kept)
    if isinstance(row.layer, Conv):
        before, after = row.layer.pad
        return convolution(graph, x, row, constants, [before, before, after, after])
    return graph.node("Gemm", [x, *constants], row.layer.name, transB=1)


def step_node(graph: GraphBuilder, x: str, name: str, step: Step, row: Row, columns: int, lowering: Lowering) -> str:
    """Append one step after a layer and return its output; dropout's factor stands in the weights that follow."""
    match step:
        case Relu():
            return graph.node("Relu", [x], name)
        case ResponseNorm():
            return response_norm(graph, x, name, step, row.made.channels, columns, lowering)
        case MapNorm():
            return map_norm(graph, x, name, step)
        case Pool():
            return graph.node("MaxPool", [x], name, kernel_shape=[step.size] * 2, strides=[step.stride] * 2)
        case Dropout():
            return x
