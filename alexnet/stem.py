"""Which positions of the first layers the ten crops share: the geometry of a shared stem.

The crops of section 4.1 overlap: a position of a layer sees the same pixels in every crop that holds it, except where
it sees, at whatever remove, the crop's padding. Such a layer can run once over the whole picture and its mirror; each
crop takes its inner positions from there and only those at its edges are computed for it alone. The exporter builds
the graph from these numbers, and the benchmark counts its operations with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from alexnet.architecture import Architecture, Conv, MapNorm, Pool, Relu, ResponseNorm, Row, Step, named_steps
from alexnet.crops import five_offsets

Stem = Literal["deep", "shared", "plain"]

# Stem -> how many convolutions the crops share: conv1 alone, or conv1, its pooling and conv2.
SHARED_LAYERS = {"plain": 0, "shared": 1, "deep": 2}


@dataclass(frozen=True)
class Level:
    """One convolution or pooling of the stem along one side of the crop, and the steps that follow it in place.

    In a crop it makes `total` positions from `below`, with windows of `size` every `stride` and zeros `pad` before and
    after; those in `inner`, first and end, see no padding. Over the whole picture it makes `whole` positions, from
    position `start` of the level below (of the picture for the first one) on; the first of them is the first inner
    one of a crop at pixel 0. `jump` is the number of pixels between two positions.
    """

    row: Row
    pool: tuple[str, Pool] | None
    steps: tuple[tuple[str, Step], ...]
    size: int
    stride: int
    pad: tuple[int, int]
    below: int
    total: int
    inner: tuple[int, int]
    start: int
    whole: int
    jump: int

    @property
    def output(self) -> str:
        """The name of what the level makes of a crop, as the plain graph has it."""
        name = self.pool[0] if self.pool else self.row.layer.name
        return self.steps[-1][0] if self.steps else name

    def needs(self, first: int, end: int) -> tuple[int, int, int, int]:
        """Return what a crop's positions `first` to before `end` see: first, end, and zeros before and after."""
        low = first * self.stride - self.pad[0]
        high = (end - 1) * self.stride - self.pad[0] + self.size
        return max(low, 0), min(high, self.below), max(-low, 0), max(high - self.below, 0)


def stem_levels(architecture: Architecture, side: int, stem: str) -> list[Level]:
    """Return the levels that crops of pictures of `side` pixels share; none for a plain stem.

    A level whose `inner` is empty shares nothing: `stem_refusal` says so.
    """
    levels: list[Level] = []
    for row, pool, steps in _operations(architecture, SHARED_LAYERS.get(stem, 0)):
        levels.append(_level(row, pool, steps, levels[-1] if levels else None, architecture.crop, side))
    return levels


def stem_refusal(architecture: Architecture, side: int, stem: str) -> str | None:
    """Return why crops of pictures of `side` pixels cannot share the layers of a stem, or None when they can."""
    crop, layers = architecture.crop, architecture.layers[: SHARED_LAYERS[stem]]
    if not isinstance(layers[0], Conv):
        return "the first layer is no convolution"
    if (side - crop) % 2:
        return f"a centre crop of {crop} in {side} pixels is not the centre of the mirrored picture"
    for layer in layers[:-1]:
        if any(isinstance(step, MapNorm) for step in layer.steps):
            return f"{layer.name} is normalised over neighbours within each map, which sees the crop's edge"
    if not isinstance(layers[-1], Conv):
        return f"the layer after {layers[-2].name} is no convolution"
    for level in stem_levels(architecture, side, stem):
        name = level.pool[0] if level.pool else level.row.layer.name
        apart = (
            f"{name}'s stride {level.jump}"
            if level.jump == level.stride
            else f"the {level.jump} pixels between positions of {name}"
        )
        for offset in sorted({place for pair in five_offsets(side, crop) for place in pair}):
            if offset % level.jump:
                return f"a crop of {crop} in {side} pixels starts at pixel {offset}, no multiple of {apart}"
        if level.inner[1] <= level.inner[0]:
            return f"every position of {name} sees padding in a crop of {crop} pixels"
    return None


def stem_shares(architecture: Architecture, side: int, crops: int, stem: str) -> dict[str, float]:
    """Return, by name of convolution, the positions that a stem computes over those of the crops' own."""
    shares = {}
    for level in stem_levels(architecture, side, stem):
        if level.pool is None:
            inner = level.inner[1] - level.inner[0]
            positions = 2 * level.whole**2 + crops * (level.total**2 - inner**2)
            shares[level.row.layer.name] = positions / (crops * level.total**2)
    return shares


def _operations(
    architecture: Architecture, layers: int
) -> Iterator[tuple[Row, tuple[str, Pool] | None, tuple[tuple[str, Step], ...]]]:
    """Yield the convolutions and poolings of the first layers, each with the steps in place that follow it.

    The last layer ends before its first step that looks at neighbours.
    """
    for number, row in zip(range(1, layers + 1), architecture.rows(), strict=False):
        pool: tuple[str, Pool] | None = None
        steps: list[tuple[str, Step]] = []
        for name, step in named_steps(number, row.layer):
            if isinstance(step, Relu | ResponseNorm):
                steps.append((name, step))
                continue
            if number == layers or not isinstance(step, Pool):
                break
            yield row, pool, tuple(steps)
            pool, steps = (name, step), []
        yield row, pool, tuple(steps)


def _level(
    row: Row,
    pool: tuple[str, Pool] | None,
    steps: tuple[tuple[str, Step], ...],
    last: Level | None,
    crop: int,
    side: int,
) -> Level:
    """Return one level above another, or above the pixels."""
    if pool:
        size, stride, pad = pool[1].size, pool[1].stride, (0, 0)
    else:
        assert isinstance(row.layer, Conv)
        size, stride, pad = row.layer.size, row.layer.stride, row.layer.pad
    below = last.total if last else crop
    (low, high), whole, jump = (last.inner, last.whole, last.jump) if last else ((0, crop), side, 1)
    inner = -(-(low + pad[0]) // stride), (high + pad[0] - size) // stride + 1
    start = inner[0] * stride - pad[0] - low
    return Level(
        row=row,
        pool=pool,
        steps=steps,
        size=size,
        stride=stride,
        pad=pad,
        below=below,
        total=(below + sum(pad) - size) // stride + 1,
        inner=inner,
        start=start,
        whole=(whole - start - size) // stride + 1,
        jump=jump * stride,
    )
