"""The shared stem: the first layers once on the whole picture and its mirror, not once a crop.

`alexnet/stem.py` says which positions the ten crops share. Each crop takes its inner positions from the maps of the
whole, and only the rows and columns at its edges, which see zeros, are computed for it alone: for the paper's network
8,778 positions of conv1 instead of 30,250, and with the deep stem 3,802 of conv2 instead of 7,290. The values are
those of the plain graph; only the order of the crops differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from alexnet.crops import five_offsets
from alexnet.export.builder import GraphBuilder
from alexnet.export.layers import GraphSource, convolution, layer_constants, step_node
from alexnet.export.options import Lowering
from alexnet.stem import Level, stem_levels

Span = tuple[int, int]
PIXELS = -1


@dataclass(frozen=True)
class SharedStem:
    """A stem in the making: its levels, the constants of their convolutions and their maps of the whole picture.

    `pair` [2 N, 3, S, S] is the pictures less the mean, then their mirrors; `wholes` [2 N, maps, W, W] one a level.
    """

    graph: GraphBuilder
    source: GraphSource
    lowering: Lowering
    levels: list[Level]
    constants: dict[str, list[str]]
    pair: str
    wholes: list[str]

    def region(self, number: int, rows: Span, columns: Span, part: str, output: str | None = None) -> str:
        """Append `rows` x `columns` of what level `number` makes of each crop, [10 N, maps, rows, columns].

        Crop by crop, each of the pictures and then of their mirrors. `part` names where in the crop it stands.
        """
        if number == PIXELS:
            return self._sliced(self.pair, 1, 0, rows, columns, f"{part}pixels")
        level = self.levels[number]
        top, middle, bottom = _parts(rows, level.inner)
        left, inner, right = _parts(columns, level.inner)
        pieces = []
        if middle:
            across = []
            if left:
                across.append(self._computed(number, middle, left, f"{part}left/"))
            if inner:
                name = f"{part}{self.short(number)}inner"
                across.append(self._sliced(self.wholes[number], level.jump, level.inner[0], middle, inner, name))
            if right:
                across.append(self._computed(number, middle, right, f"{part}right/"))
            pieces.append(self._joined(across, f"{part}{self.short(number)}rows", 3))
        if top:
            pieces.insert(0, self._computed(number, top, columns, f"{part}top/"))
        if bottom:
            pieces.append(self._computed(number, bottom, columns, f"{part}bottom/"))
        return self._joined(pieces, output or f"{part}{self.short(number)}whole_crop", 2, output is not None)

    def apply(self, level: Level, x: str, part: str, pads: list[int]) -> str:
        """Append a level with its steps over one part of the pictures, with zeros `pads` around it."""
        with self.graph.prefixed(f"{self.graph.prefix}stem/{part}"):
            if level.pool:
                x = step_node(self.graph, x, *level.pool, level.row, self.source.architecture.columns, self.lowering)
            else:
                x = convolution(self.graph, x, level.row, self.constants[level.row.layer.name], pads)
            for name, step in level.steps:
                x = step_node(self.graph, x, name, step, level.row, self.source.architecture.columns, self.lowering)
        return x

    def short(self, number: int) -> str:
        """Return what the names of a level's own pieces begin with; nothing for those of conv1."""
        level = self.levels[number]
        return f"{level.pool[0] if level.pool else level.row.layer.name}_" if number else ""

    def _computed(self, number: int, rows: Span, columns: Span, part: str) -> str:
        """Append a region that sees padding: the level over what of the level below it sees."""
        level = self.levels[number]
        top, bottom, above, under = level.needs(*rows)
        left, right, before, after = level.needs(*columns)
        x = self.region(number - 1, (top, bottom), (left, right), part)
        return self.apply(level, x, part, [above, before, under, after])

    def _sliced(self, whole: str, jump: int, first: int, rows: Span, columns: Span, name: str) -> str:
        """Append a region that the crops share, out of the map of the whole picture."""
        parts = []
        for i, (y, x) in enumerate(five_offsets(self.source.side, self.source.architecture.crop)):
            down, along = y // jump - first, x // jump - first
            begin, end = [rows[0] + down, columns[0] + along], [rows[1] + down, columns[1] + along]
            parts.append(self.graph.slice(whole, f"stem/{name}{i}", begin, end, [2, 3]))
        return self.graph.node("Concat", parts, f"stem/{name}", axis=0)

    def _joined(self, pieces: list[str], name: str, axis: int, last: bool = False) -> str:
        """Append pieces side by side; the last node of the stem has the name that the plain graph gives it."""
        if len(pieces) == 1 and not last:
            return pieces[0]
        return self.graph.node("Concat", pieces, name if last else f"stem/{name}", axis=axis)


def shared_stem(
    graph: GraphBuilder, planes: str, source: GraphSource, lowering: Lowering, stem: str
) -> tuple[str, int]:
    """Append the stem over `planes` [N, 3, S, S] less the mean; see `alexnet.stem.stem_refusal` first.

    Returns the name of its output [10 N, maps, P, P], crop by crop, each of the pictures and then of their mirrors,
    and the number of the last layer's steps that it holds.
    """
    levels, kept = stem_levels(source.architecture, source.side, stem), 1.0 / source.divisor
    constants: dict[str, list[str]] = {}
    for level in levels:
        if level.row.layer.name not in constants:
            constants[level.row.layer.name] = layer_constants(graph, level.row, source.weights, kept)
            kept = 1.0
    pair = graph.node("Concat", [planes, graph.mirror(planes, "stem/mirror", source.side)], "stem/pair", axis=0)
    made = SharedStem(graph, source, lowering, levels, constants, pair, [])
    whole, side = pair, source.side
    for number, level in enumerate(levels):
        if level.start:
            name = f"stem/{made.short(number)}aligned"
            whole = graph.slice(whole, name, [level.start] * 2, [side] * 2, [2, 3])
        whole, side = made.apply(level, whole, "whole/", [0] * 4), level.whole
        made.wholes.append(whole)
    last = levels[-1]
    x = made.region(len(levels) - 1, (0, last.total), (0, last.total), "", last.output)
    return x, len(last.steps)


def _parts(span: Span, inner: Span) -> tuple[Span | None, Span | None, Span | None]:
    """Return what of a span lies before, in and after the inner positions; None for what does not."""
    cuts = [span[0], *(min(max(place, span[0]), span[1]) for place in inner), span[1]]
    before, within, after = ((a, b) if a < b else None for a, b in pairwise(cuts))
    return before, within, after
