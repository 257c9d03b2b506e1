"""The shared stem: conv1 and its normalisation once on the whole picture and its mirror, not once a crop.

The crops of section 4.1 overlap: a position of conv1 sees the same pixels in every crop that holds it, except where
it sees the crop's padding. So the first layer, up to its first step that looks at neighbours, runs over the whole
picture and its mirror; each crop takes its inner positions from there, and only the rows and columns at its edges,
which see zeros, are computed for it alone. With the paper's crops of 224 in 256 pixels that is 8,778 positions
instead of 30,250. The values are those of the plain graph; only the order of the crops differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet.architecture import Conv, Relu, ResponseNorm, Row, Step, named_steps
from alexnet.crops import five_offsets
from alexnet.export.builder import GraphBuilder
from alexnet.export.layers import GraphSource, convolution, layer_constants, step_node
from alexnet.export.options import Lowering


@dataclass(frozen=True)
class StemGeometry:
    """Where conv1 sees padding, in positions along one side of a crop.

    `low` positions at the start and `high` at the end of `total` see zeros; `first` is the pixel of the picture at
    which the convolution over the whole starts, so that its positions fall on those of every crop.
    """

    total: int
    low: int
    high: int
    first: int

    @property
    def inner(self) -> int:
        """The positions between, which see pixels of the crop alone."""
        return self.total - self.low - self.high


def stem_refusal(source: GraphSource) -> str | None:
    """Return why the crops cannot share the first layer, or None when they can."""
    architecture, side = source.architecture, source.side
    layer, crop = architecture.layers[0], architecture.crop
    if not isinstance(layer, Conv):
        return "the first layer is no convolution"
    for offset in sorted({place for pair in five_offsets(side, crop) for place in pair}):
        if offset % layer.stride:
            return (
                f"a crop of {crop} in {side} pixels starts at pixel {offset}, "
                f"no multiple of conv1's stride {layer.stride}"
            )
    if (side - crop) % 2:
        return f"a centre crop of {crop} in {side} pixels is not the centre of the mirrored picture"
    if geometry(layer, crop).inner < 1:
        return f"every position of conv1 sees padding in a crop of {crop} pixels"
    return None


def geometry(layer: Conv, crop: int) -> StemGeometry:
    """Return which of the layer's positions in a crop of `crop` pixels see its padding."""
    before, total = layer.pad[0], layer.output(crop)
    low = -(-before // layer.stride)
    high = total - ((crop + before - layer.size) // layer.stride + 1)
    return StemGeometry(total, low, high, low * layer.stride - before)


def shared_steps(row: Row) -> list[tuple[str, Step]]:
    """Return the steps of the first layer that look at one position only: those before the first pooling."""
    steps: list[tuple[str, Step]] = []
    for name, step in named_steps(1, row.layer):
        if not isinstance(step, Relu | ResponseNorm):
            break
        steps.append((name, step))
    return steps


def shared_stem(graph: GraphBuilder, planes: str, source: GraphSource, lowering: Lowering) -> tuple[str, int]:
    """Append the first layer of the ten crops of `planes` [N, 3, S, S] less the mean; see `stem_refusal` first.

    Returns the name of its output [10 N, maps, P, P], crop by crop, each of the pictures and then of their mirrors,
    and the number of the layer's steps that it holds.
    """
    row = next(source.architecture.rows())
    constants = layer_constants(graph, row, source.weights, 1.0 / source.divisor)
    steps, layer, crop = shared_steps(row), row.layer, source.architecture.crop
    assert isinstance(layer, Conv)
    place, offsets = geometry(layer, crop), five_offsets(source.side, crop)

    def layer_over(x: str, part: str, pads: list[int]) -> str:
        """Append the layer with its shared steps over one part of the pictures."""
        with graph.prefixed(f"{graph.prefix}stem/{part}/"):
            x = convolution(graph, x, row, constants, pads)
            for name, step in steps:
                x = step_node(graph, x, name, step, row, source.architecture.columns, lowering)
        return x

    def strip(part: str, rows: tuple[int, int], columns: tuple[int, int], pads: list[int]) -> str:
        """Append the layer over the pixels `rows` x `columns` of every crop, crop by crop."""
        (top, bottom), (left, right) = rows, columns
        parts = [
            graph.slice(pair, f"stem/{part}{i}", [y + top, x + left], [y + bottom, x + right], [2, 3])
            for i, (y, x) in enumerate(offsets)
        ]
        return layer_over(graph.node("Concat", parts, f"stem/{part}_pixels", axis=0), part, pads)

    pair = graph.node("Concat", [planes, graph.mirror(planes, "stem/mirror", source.side)], "stem/pair", axis=0)
    start, side = place.first, source.side
    whole = graph.slice(pair, "stem/aligned", [start] * 2, [side] * 2, [2, 3]) if start else pair
    whole = layer_over(whole, "whole", [0, 0, 0, 0])
    inner = [
        graph.slice(
            whole,
            f"stem/inner{i}",
            [y // layer.stride, x // layer.stride],
            [y // layer.stride + place.inner, x // layer.stride + place.inner],
            [2, 3],
        )
        for i, (y, x) in enumerate(offsets)
    ]
    (before, after), size, stride = layer.pad, layer.size, layer.stride
    # Pixels that the last position of the low edge, and the first of the high edge, see; and those of the inner ones.
    low_end, high_first = stride * (place.low - 1) - before + size, stride * (place.total - place.high) - before
    between = (start, high_first - stride + size)
    output = steps[-1][0] if steps else layer.name
    lone = not place.low and not place.high
    x = graph.node("Concat", inner, output if lone else "stem/inner", axis=0)
    left = [strip("left", between, (0, low_end), [0, before, 0, 0])] if place.low else []
    right = [strip("right", between, (high_first, crop), [0, 0, 0, after])] if place.high else []
    if left or right:
        x = graph.node("Concat", [*left, x, *right], "stem/rows", axis=3)
    top = [strip("top", (0, low_end), (0, crop), [before, before, 0, after])] if place.low else []
    bottom = [strip("bottom", (high_first, crop), (0, crop), [0, before, after, after])] if place.high else []
    if top or bottom:
        x = graph.node("Concat", [*top, x, *bottom], output, axis=2)
    return x, len(steps)
