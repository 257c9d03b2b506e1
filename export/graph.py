"""The ONNX graph from the layer table and the weights.

Written node by node from the table rather than traced from torch: every node has the name of its layer (conv1,
relu1, lrn1, pool1, ...), there are no stray reshapes, and the normalisation is the lowering that was chosen and
not the dozen nodes of a tracer. The proof (`alexnet.export.proof`) holds the graph against the torch module.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from alexnet import __version__
from alexnet.architecture import Dropout, Full, named_steps
from alexnet.errors import ModelError
from alexnet.export.builder import GraphBuilder
from alexnet.export.layers import GraphSource, linear_part, step_node
from alexnet.export.onnx_files import infer_shapes
from alexnet.export.options import ExportOptions
from alexnet.export.stem import shared_stem
from alexnet.export.ten_crops import (
    average_of_networks,
    crops_from_planes,
    planes_from_pictures,
    probabilities_of_crops,
    subtract_mean,
)
from alexnet.metadata import INPUT, OUTPUT
from alexnet.stem import SHARED_LAYERS, stem_refusal

# The IR version of ONNX 1.16, which every runtime of the last years reads; none of its successors is needed.
IR_VERSION = 10


def onnx_model(sources: Sequence[GraphSource], options: ExportOptions) -> onnx.ModelProto:
    """Return the model of one network, or of several that answer with the mean of their probabilities (Table 2).

    `pictures` in, `probabilities` float [N, classes] out, in the form that `options` say. The names of each of
    several networks' nodes have the prefix net1/, net2/, ... The factors of the paper's dropout, and the divisor of
    the centred pixels, are folded into the weights that follow. Raises ModelError when the networks take or give
    different things, or the shared stem is asked for and cannot be had.
    """
    check_together(sources, options)
    graph = GraphBuilder()
    planes = planes_from_pictures(graph, options.input)
    lone = len(sources) == 1
    answers = []
    for number, source in enumerate(sources, start=1):
        with graph.prefixed("" if lone else f"net{number}/"):
            logits = network_logits(graph, subtract_mean(graph, planes, source.mean), source, options)
            classes = source.architecture.classes
            answers.append(probabilities_of_crops(graph, logits, classes, options.crops, OUTPUT if lone else None))
    if not lone:
        average_of_networks(graph, answers)
    return _model(graph, sources[0].side, sources[0].architecture.classes, options)


def check_together(sources: Sequence[GraphSource], options: ExportOptions) -> None:
    """Raise ModelError unless the networks take the same pictures, name as many classes and can share a stem."""
    ends = [(source.side, source.architecture.classes) for source in sources]
    for side, classes in ends[1:]:
        if (side, classes) != ends[0]:
            raise ModelError(
                f"an ensemble's networks must agree: the first takes pictures of {ends[0][0]} pixels and names "
                f"{ends[0][1]} classes, another {side} and {classes}; export those that agree"
            )
    if options.stem != "plain":
        if options.crops == "one":
            raise ModelError("one crop has no other to share its stem with; export with --stem plain or --crops ten")
        for source in sources:
            if refusal := stem_refusal(source.architecture, source.side, options.stem):
                raise ModelError(f"the crops cannot share a stem: {refusal}; export with --stem plain")


def network_logits(graph: GraphBuilder, planes: str, source: GraphSource, options: ExportOptions) -> str:
    """Append a network over planes [N, 3, S, S] less the mean; return its logits' name, [M, classes] of M crops."""
    architecture = source.architecture
    kept, flat, done = 1.0 / source.divisor, False, 0
    shared = SHARED_LAYERS[options.stem]
    if shared:
        x, done = shared_stem(graph, planes, source, options.lrn, options.stem)
    else:
        x = crops_from_planes(graph, planes, source.side, architecture.crop, options.crops)
    for number, row in enumerate(architecture.rows(), start=1):
        if isinstance(row.layer, Full) and not flat:
            x, flat = graph.node("Flatten", [x], "flatten", axis=1), True
        if number < shared:
            continue
        if number > shared:
            x = linear_part(graph, x, row, source.weights, kept)
        kept = 1.0
        for name, step in named_steps(number, row.layer)[done if number == shared else 0 :]:
            if isinstance(step, Dropout):
                kept *= 1.0 - step.rate
            x = step_node(graph, x, name, step, row, architecture.columns, options.lrn)
    return x


def _model(graph: GraphBuilder, side: int, classes: int, options: ExportOptions) -> onnx.ModelProto:
    """Return the nodes as a model, its batch N or the number that is asked for, shapes inferred strictly."""
    batch = options.batch or "N"
    kind, shape = TensorProto.UINT8, [batch, side, side, 3]
    if options.input == "float":
        kind, shape = TensorProto.FLOAT, [batch, 3, side, side]
    proto = helper.make_graph(
        graph.nodes,
        "alexnet",
        [helper.make_tensor_value_info(INPUT, kind, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, classes])],
        graph.initialisers,
    )
    domains = [helper.make_opsetid(domain, 1) for domain in sorted(graph.domains)]
    model = helper.make_model(
        proto,
        producer_name="alexnet-toolchain",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", options.version), *domains],
        functions=[_at_opset(body, options.version) for body in (*graph.functions.values(), *graph.shapes.values())],
        ir_version=IR_VERSION,
    )
    model = infer_shapes(model)
    del model.functions[len(graph.functions) :]
    return model


def _at_opset(function: onnx.FunctionProto, opset: int) -> onnx.FunctionProto:
    """Return a function whose nodes are of the model's own version of ONNX's operators."""
    del function.opset_import[:]
    function.opset_import.append(helper.make_opsetid("", opset))
    return function
