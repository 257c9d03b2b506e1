"""The ONNX graph from the layer table and the weights.

Written node by node from the table rather than traced from torch: every node has the name of its layer (conv1,
relu1, lrn1, pool1, ...), there are no stray reshapes, and the normalisation is the lowering that was chosen and
not the dozen nodes of a tracer. The proof (`alexnet.export.proof`) holds the graph against the torch module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from alexnet import __version__
from alexnet.architecture import Architecture, Conv, Dropout, Full, MapNorm, Pool, Relu, ResponseNorm, Row
from alexnet.errors import ModelError
from alexnet.export.builder import GraphBuilder
from alexnet.export.lrn import map_norm, response_norm
from alexnet.export.ten_crops import INPUT, OUTPUT, average_of_crops, crops_from_pictures

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]

DEFAULT_OPSET = 18
OPSETS = range(18, 24)
# The IR version of ONNX 1.16, which every runtime of the last years reads; none of its successors is needed.
IR_VERSION = 10


def model_from_weights(
    architecture: Architecture, weights: Weights, mean: Floats, opset: int = DEFAULT_OPSET, divisor: float = 1.0
) -> onnx.ModelProto:
    """Return the ten-crop model: `pictures` uint8 [N, S, S, 3] in, `probabilities` float [N, classes] out.

    `weights` are the torch module's parameters by name (`conv1.weight` [O, I, k, k], `fc6.weight` [out, in]);
    `mean` is float32 [S, S, 3]. The factors of the paper's dropout, and the
    `divisor` of the centred pixels, are folded into the weights that follow.
    Raises ModelError for an opset that is not offered.
    """
    if opset not in OPSETS:
        raise ModelError(
            f"opset {opset} is not offered, expected {OPSETS[0]} to {OPSETS[-1]}; leave it out for {DEFAULT_OPSET}"
        )
    graph = GraphBuilder()
    x = crops_from_pictures(graph, mean, architecture.crop)
    kept, flat = 1.0 / divisor, False
    for number, row in enumerate(architecture.rows(), start=1):
        if isinstance(row.layer, Full) and not flat:
            x, flat = graph.node("Flatten", [x], "flatten", axis=1), True
        x = _layer(graph, x, row, weights, kept)
        kept = 1.0
        seen: Counter[type] = Counter()
        for step in row.layer.steps:
            # A step that a layer repeats is called relu3, relu3_2, ...: ONNX names are unique.
            seen[type(step)] += 1
            place = f"{number}" if seen[type(step)] == 1 else f"{number}_{seen[type(step)]}"
            match step:
                case Relu():
                    x = graph.node("Relu", [x], f"relu{place}")
                case ResponseNorm():
                    x = response_norm(graph, x, f"lrn{place}", step, row.made.channels, architecture.columns)
                case MapNorm():
                    x = map_norm(graph, x, f"map_norm{place}", step)
                case Pool():
                    window, stride = [step.size] * 2, [step.stride] * 2
                    x = graph.node("MaxPool", [x], f"pool{place}", kernel_shape=window, strides=stride)
                case Dropout():
                    kept *= 1.0 - step.rate
    average_of_crops(graph, x, architecture.classes)
    return _model(graph, mean.shape[0], architecture.classes, opset)


def _layer(graph: GraphBuilder, x: str, row: Row, weights: Weights, kept: float) -> str:
    """Append a row's convolution or matrix, its weights times `kept`, what dropout leaves of its inputs."""
    layer = row.layer
    matrix = weights[f"{layer.name}.weight"] * np.float32(kept)
    weight = graph.constant(f"{layer.name}.weight", matrix)
    bias = graph.constant(f"{layer.name}.bias", weights[f"{layer.name}.bias"])
    if isinstance(layer, Conv):
        before, after = layer.pad
        return graph.node(
            "Conv",
            [x, weight, bias],
            layer.name,
            kernel_shape=[layer.size] * 2,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
            group=row.groups,
        )
    return graph.node("Gemm", [x, weight, bias], layer.name, transB=1)


def _model(graph: GraphBuilder, side: int, classes: int, opset: int) -> onnx.ModelProto:
    """Return the nodes as a model with a dynamic batch N, shapes inferred strictly."""
    proto = helper.make_graph(
        graph.nodes,
        "alexnet",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])],
        graph.initialisers,
    )
    model = helper.make_model(
        proto,
        producer_name="alexnet-toolchain",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
    )
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
