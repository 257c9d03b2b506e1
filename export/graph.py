"""The ONNX graph from the layer table and the weights.

Written node by node from the table rather than traced from torch: every node has the name of its layer (conv1,
relu1, lrn1, pool1, ...), there are no stray reshapes, and the normalisation is the lowering that was chosen and
not the dozen nodes of a tracer. The proof (`alexnet.export.proof`) holds the graph against the torch module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from alexnet import __version__
from alexnet.architecture import Architecture, Conv, Dropout, Full, MapNorm, Pool, Relu, ResponseNorm, Row, named_steps
from alexnet.export.builder import GraphBuilder
from alexnet.export.lrn import map_norm, response_norm
from alexnet.export.options import ExportOptions
from alexnet.export.ten_crops import average_of_crops, crops_from_pictures
from alexnet.metadata import INPUT, OUTPUT

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]

# The IR version of ONNX 1.16, which every runtime of the last years reads; none of its successors is needed.
IR_VERSION = 10


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


def onnx_model(sources: Sequence[GraphSource], options: ExportOptions) -> onnx.ModelProto:
    """Return the model of one network: `pictures` in, `probabilities` float [N, classes] out.

    The factors of the paper's dropout, and the divisor of the centred pixels, are folded into the weights that follow.
    """
    (source,) = sources
    graph = GraphBuilder()
    x = crops_from_pictures(graph, source.mean, source.architecture.crop)
    logits = network_logits(graph, x, source, options)
    average_of_crops(graph, logits, source.architecture.classes)
    return _model(graph, source.mean.shape[0], source.architecture.classes, options.opset)


def network_logits(graph: GraphBuilder, x: str, source: GraphSource, options: ExportOptions) -> str:
    """Append the layers of a network over crops [M, 3, crop, crop] less the mean; return the logits' name."""
    kept, flat = 1.0 / source.divisor, False
    for number, row in enumerate(source.architecture.rows(), start=1):
        if isinstance(row.layer, Full) and not flat:
            x, flat = graph.node("Flatten", [x], "flatten", axis=1), True
        x = _layer(graph, x, row, source.weights, kept)
        kept = 1.0
        for name, step in named_steps(number, row.layer):
            match step:
                case Relu():
                    x = graph.node("Relu", [x], name)
                case ResponseNorm():
                    columns = source.architecture.columns
                    x = response_norm(graph, x, name, step, row.made.channels, columns, options.lrn)
                case MapNorm():
                    x = map_norm(graph, x, name, step)
                case Pool():
                    window, stride = [step.size] * 2, [step.stride] * 2
                    x = graph.node("MaxPool", [x], name, kernel_shape=window, strides=stride)
                case Dropout():
                    kept *= 1.0 - step.rate
    return x


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
    domains = [helper.make_opsetid(domain, 1) for domain in sorted(graph.domains)]
    model = helper.make_model(
        proto,
        producer_name="alexnet-toolchain",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", opset), *domains],
        functions=list(graph.functions.values()),
        ir_version=IR_VERSION,
    )
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
