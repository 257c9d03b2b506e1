"""Response normalisation as one node `alexnet.ResponseNorm`, with a function body or bare.

The body is the arithmetic of the lowering `conv`. A function holds no weights, so the node passes the band and the
bias: once inlined they are constants, and the convolution is what `conv` would have been. What depends on the type
of x is cast like it, so that the same body serves float16.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from alexnet.architecture import ResponseNorm
from alexnet.export.builder import GraphBuilder
from alexnet.ops import DOMAIN, OPERATOR

ATTRIBUTES = ("size", "groups", "alpha", "beta", "k")


def norm_node(graph: GraphBuilder, inputs: list[str], name: str, norm: ResponseNorm, groups: int) -> str:
    """Append the node and return its output's name."""
    graph.domains.add(DOMAIN)
    values: dict[str, Any] = {"alpha": norm.alpha, "beta": norm.beta, "k": norm.k}
    return graph.node(OPERATOR, inputs, name, domain=DOMAIN, size=norm.size, groups=groups, **values)


def add_body(graph: GraphBuilder, beta: float) -> None:
    """Give the model the operator's body: two square roots while every node's power is 3/4, else Pow."""
    known = graph.functions.get(OPERATOR)
    general = beta != 0.75 or (known is not None and any(node.op_type == "Pow" for node in known.node))
    nodes = [
        _attribute("alpha"),
        helper.make_node("Sqrt", ["alpha"], ["root_of_alpha"]),
        helper.make_node("CastLike", ["root_of_alpha", "x"], ["alpha_root"]),
        helper.make_node("Mul", ["x", "alpha_root"], ["scale"], name="scale"),
        helper.make_node("Mul", ["scale", "scale"], ["square"], name="square"),
        _sum(),
        *(_general_power() if general else _three_quarters()),
        helper.make_node("Div", ["x", "power"], ["y"], name="norm"),
    ]
    graph.functions[OPERATOR] = _function(["x", "band", "bias"], nodes)


def add_shape(graph: GraphBuilder) -> None:
    """Say what shape inference needs of the bare operator: its output is as its input."""
    graph.shapes[OPERATOR] = _function(["x"], [helper.make_node("Identity", ["x"], ["y"])])


def _function(inputs: list[str], nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    """Return the operator as a function; the model sets the opset of its nodes."""
    return helper.make_function(DOMAIN, OPERATOR, inputs, ["y"], nodes, [], list(ATTRIBUTES))


def _attribute(name: str) -> onnx.NodeProto:
    """Return the node that makes a float attribute of the operator a scalar of that name."""
    return _with_reference(helper.make_node("Constant", [], [name]), "value_float", name, onnx.AttributeProto.FLOAT)


def _sum() -> onnx.NodeProto:
    """Return the 1x1 convolution with the band of ones that adds the squares of adjacent maps to the bias k."""
    node = helper.make_node("Conv", ["square", "band", "bias"], ["sum"], name="sum", kernel_shape=[1, 1])
    return _with_reference(node, "group", "groups", onnx.AttributeProto.INT)


def _with_reference(node: onnx.NodeProto, attribute: str, name: str, kind: Any) -> onnx.NodeProto:
    """Return `node` with an attribute that takes its value from the function's attribute `name`."""
    node.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=name, type=kind))
    return node


def _three_quarters() -> list[onnx.NodeProto]:
    """Return sum^0.75 as root times fourth root."""
    return [
        helper.make_node("Sqrt", ["sum"], ["root"], name="root"),
        helper.make_node("Sqrt", ["root"], ["fourth_root"], name="fourth_root"),
        helper.make_node("Mul", ["root", "fourth_root"], ["power"], name="power"),
    ]


def _general_power() -> list[onnx.NodeProto]:
    """Return sum^beta."""
    return [
        _attribute("beta"),
        helper.make_node("CastLike", ["beta", "x"], ["exponent"]),
        helper.make_node("Pow", ["sum", "exponent"], ["power"], name="power"),
    ]
