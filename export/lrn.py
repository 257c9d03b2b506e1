"""Response normalisation lowered to ordinary ONNX operators, which every runtime fuses and vectorises.

Across maps (section 3.3) the sum of squares is a 1x1 convolution with a band of ones; `group` keeps it within a
column without any reshape. Scaling by the root of alpha before squaring keeps the squares small, and a power of
3/4 is two square roots:

    t = x * sqrt(alpha);  s = Conv1x1(t * t, band, bias k);  y = x / (sqrt(s) * sqrt(sqrt(s)))
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from alexnet.architecture import MapNorm, ResponseNorm
from alexnet.export.builder import GraphBuilder
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
    """Append the normalisation of `x` [N, channels, H, W] across maps and return its output's name."""
    groups = columns if norm.scope == "column" else 1
    root = graph.constant(f"{name}/alpha_root", np.array(math.sqrt(norm.alpha), dtype=np.float32))
    scaled = graph.node("Mul", [x, root], f"{name}/scale")
    squares = graph.node("Mul", [scaled, scaled], f"{name}/square")
    weights = graph.constant(f"{name}/band", band(channels, groups, norm.size))
    k = graph.constant(f"{name}/k", np.full(channels, norm.k, dtype=np.float32))
    s = graph.node("Conv", [squares, weights, k], f"{name}/sum", kernel_shape=[1, 1], group=groups)
    return _divide_by_power(graph, x, s, norm.beta, name)


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
