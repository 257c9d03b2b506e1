"""The four lowerings of response normalisation (docs/lrn.md).

`conv`, the default, is ordinary operators, which every runtime fuses and vectorises. Across maps (section 3.3) the
sum of squares is a 1x1 convolution with a band of ones; `group` keeps it within a column without any reshape.
Scaling by the root of alpha before squaring keeps the squares small, and a power of 3/4 is two square roots:

    t = x * sqrt(alpha);  s = Conv1x1(t * t, band, bias k);  y = x / (sqrt(s) * sqrt(sqrt(s)))

`native` is ONNX's operator LRN, `function` one node of our own domain with the above as its body, and `plugin` the
same node without a body (`alexnet.export.lrn_function`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.architecture import MapNorm, ResponseNorm
from alexnet.export.builder import GraphBuilder
from alexnet.export.lrn_function import add_body, add_shape, norm_node
from alexnet.export.options import Lowering

Floats = npt.NDArray[np.float32]


def band(channels: int, groups: int, size: int) -> Floats:
    """Return the weights [channels, channels / groups, 1, 1] that sum the `size` adjacent maps of a group."""
    place = np.arange(channels // groups)
    near = (abs(place[:, None] - place[None, :]) <= size // 2).astype(np.float32)
    return np.tile(near, (groups, 1))[:, :, None, None]


def response_norm(
    graph: GraphBuilder,
    x: str,
    name: str,
    norm: ResponseNorm,
    channels: int,
    columns: int,
    lowering: Lowering = "conv",
) -> str:
    """Append the normalisation of `x` [N, channels, H, W] across maps and return its output's name, `name`."""
    groups = columns if norm.scope == "column" else 1
    match lowering:
        case "conv":
            return _conv(graph, x, name, norm, channels, groups)
        case "native":
            return _native(graph, x, name, norm, groups)
        case "function":
            add_body(graph, norm.beta)
            weights, k = _band_and_bias(graph, name, norm, channels, groups)
            return norm_node(graph, [x, weights, k], name, norm, groups)
        case "plugin":
            add_shape(graph)
            return norm_node(graph, [x], name, norm, groups)


def _conv(graph: GraphBuilder, x: str, name: str, norm: ResponseNorm, channels: int, groups: int) -> str:
    """Append the banded convolution and what stands around it."""
    root = graph.constant(f"{name}/alpha_root", np.array(math.sqrt(norm.alpha), dtype=np.float32))
    scaled = graph.node("Mul", [x, root], f"{name}/scale")
    squares = graph.node("Mul", [scaled, scaled], f"{name}/square")
    weights, k = _band_and_bias(graph, name, norm, channels, groups)
    s = graph.node("Conv", [squares, weights, k], f"{name}/sum", kernel_shape=[1, 1], group=groups)
    return _divide_by_power(graph, x, s, norm.beta, name)


def _band_and_bias(graph: GraphBuilder, name: str, norm: ResponseNorm, channels: int, groups: int) -> tuple[str, str]:
    """Add the band and the bias k of a normalisation's convolution."""
    weights = graph.constant(f"{name}/band", band(channels, groups, norm.size))
    return weights, graph.constant(f"{name}/k", np.full(channels, norm.k, dtype=np.float32))


def _native(graph: GraphBuilder, x: str, name: str, norm: ResponseNorm, groups: int) -> str:
    """Append ONNX's LRN, which divides alpha by the size and calls k its bias; a column's maps are split off first."""
    values: dict[str, Any] = {"size": norm.size, "alpha": norm.alpha * norm.size, "beta": norm.beta, "bias": norm.k}
    if groups == 1:
        return graph.node("LRN", [x], name, **values)
    columns = [f"{name}/column{place}" for place in range(1, groups + 1)]
    parts = graph.split(x, f"{name}/split", [f"{column}/maps" for column in columns], axis=1)
    normed = [graph.node("LRN", [part], column, **values) for part, column in zip(parts, columns, strict=True)]
    return graph.node("Concat", normed, name, axis=1)


def map_norm(graph: GraphBuilder, x: str, name: str, norm: MapNorm) -> str:
    """Append the normalisation of `x` over the neighbours within each map and return its output's name."""
    area = norm.size**2
    root = graph.constant(f"{name}/alpha_root", np.array(math.sqrt(norm.alpha * area), dtype=np.float32))
    scaled = graph.node("Mul", [x, root], f"{name}/scale")
    squares = graph.node("Mul", [scaled, scaled], f"{name}/square")
    mean = graph.node(
        "AveragePool",
        [squares],
        f"{name}/sum",
        kernel_shape=[norm.size] * 2,
        pads=[norm.size // 2] * 4,
        count_include_pad=1,
    )
    k = graph.constant(f"{name}/k", np.array(norm.k, dtype=np.float32))
    return _divide_by_power(graph, x, graph.node("Add", [mean, k], f"{name}/add_k"), norm.beta, name)


def _divide_by_power(graph: GraphBuilder, x: str, s: str, beta: float, name: str) -> str:
    """Append x / s^beta; 0.75 as two square roots, other powers as Pow."""
    if beta == 0.75:
        root = graph.node("Sqrt", [s], f"{name}/root")
        fourth = graph.node("Sqrt", [root], f"{name}/fourth_root")
        power = graph.node("Mul", [root, fourth], f"{name}/power")
    else:
        exponent = graph.constant(f"{name}/beta", np.array(beta, dtype=np.float32))
        power = graph.node("Pow", [s, exponent], f"{name}/power")
    return graph.node("Div", [x, power], name)
