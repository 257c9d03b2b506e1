"""The layer table: one description of the network from which every stage is built.

A network is data: a tuple of layers, each a convolution or a fully connected layer followed by steps
(ReLU, response normalisation, pooling, dropout) in the order in which they happen. The paper's text
and the source released with it differ only in such data. The torch module, the ONNX graph, the
printed table and the counts of neurons, parameters and multiply-adds all come from here.

Section 3.5 of the paper gives the layers, 3.3 the normalisation, 3.4 the pooling, 4.2 the dropout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from alexnet.errors import RecipeError
from alexnet.recipe import NetworkRecipe


@dataclass(frozen=True)
class Relu:
    """f(x) = max(0, x), section 3.1."""


@dataclass(frozen=True)
class ResponseNorm:
    """Local response normalisation across maps, section 3.3.

    b = a / (k + alpha * sum of a^2 over the `size` adjacent maps)^beta. `alpha` multiplies the sum
    itself; torch's and ONNX's operators divide theirs by `size`, so they take alpha * size.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    scope: Literal["column", "layer"] = "column"


@dataclass(frozen=True)
class MapNorm:
    """Response normalisation over the size x size neighbours within each map (the 2012 source, layer 2)."""

    size: int = 5
    alpha: float = 1e-3 / 25
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Pool:
    """Max pooling of z = `size` every s = `stride` positions; the paper's overlap, section 3.4."""

    size: int = 3
    stride: int = 2

    def output(self, side: int) -> int:
        """Return the side of the pooled map, in positions."""
        return (side - self.size) // self.stride + 1


@dataclass(frozen=True)
class Dropout:
    """Zero each output with probability `rate` in training; multiply by 1 - rate at test time (section 4.2)."""

    rate: float = 0.5


Step = Relu | ResponseNorm | MapNorm | Pool | Dropout


@dataclass(frozen=True)
class Conv:
    """A convolution: `kernels` in the whole layer, of side `size`, moved by `stride` positions.

    `pad` is zeros added before and after each side. `sees` says which maps of the layer below a kernel
    reads: those of its own column, or those of both.
    """

    name: str
    kernels: int
    size: int
    stride: int
    pad: tuple[int, int]
    sees: Literal["own", "both"]
    steps: tuple[Step, ...]

    def output(self, side: int) -> int:
        """Return the side of the map it makes from one of `side` positions."""
        return (side + sum(self.pad) - self.size) // self.stride + 1


@dataclass(frozen=True)
class Full:
    """A fully connected layer of `neurons` over everything below it."""

    name: str
    neurons: int
    steps: tuple[Step, ...]


Layer = Conv | Full


@dataclass(frozen=True)
class Shape:
    """What leaves a layer: `channels` maps of `side` x `side` positions (side 1 after a fully connected layer)."""

    channels: int
    side: int

    @property
    def size(self) -> int:
        """The number of values."""
        return self.channels * self.side * self.side


@dataclass(frozen=True)
class Row:
    """One layer with what follows from its place: what the table prints and the builders need.

    `groups` is the number of independent parts of a convolution. `parameters` counts weights and
    biases; `macs` multiply-adds for one crop; `neurons` the layer's own outputs before pooling.
    """

    layer: Layer
    input: Shape
    made: Shape
    output: Shape
    groups: int
    parameters: int
    macs: int

    @property
    def neurons(self) -> int:
        """The paper's count of a layer's neurons: its outputs before pooling."""
        return self.made.size


@dataclass(frozen=True)
class Architecture:
    """A network for crops of `crop` x `crop` pixels in `channels` colours, spread over `columns` columns."""

    crop: int
    columns: int
    layers: tuple[Layer, ...]
    channels: int = 3

    def rows(self) -> Iterator[Row]:
        """Yield each layer with its shapes and counts; RecipeError when a layer has nothing left to see."""
        shape = Shape(self.channels, self.crop)
        for layer in self.layers:
            row = self._row(layer, shape)
            shape = row.output
            yield row

    def _row(self, layer: Layer, shape: Shape) -> Row:
        """Return the row of `layer` above an output of `shape`."""
        if isinstance(layer, Full):
            weights = shape.size * layer.neurons
            made = Shape(layer.neurons, 1)
            return Row(layer, shape, made, made, 1, weights + layer.neurons, weights)
        groups = self.columns if layer.sees == "own" else 1
        made = Shape(layer.kernels, layer.output(shape.side))
        weights = layer.kernels * (shape.channels // groups) * layer.size**2
        output = made
        for step in layer.steps:
            if isinstance(step, Pool):
                output = Shape(output.channels, step.output(output.side))
        if layer.kernels % self.columns or shape.channels % groups:
            raise RecipeError(
                f"{layer.name} has {layer.kernels} kernels over {shape.channels} maps, which do not divide "
                f"into {self.columns} columns; choose another width or number of columns"
            )
        if made.side < 1 or output.side < 1:
            raise RecipeError(
                f"{layer.name} has nothing left to see: a map of {shape.side} x {shape.side} positions is too "
                f"small for it with crops of {self.crop} pixels; choose a larger crop (the paper's layers need 64)"
            )
        return Row(layer, shape, made, output, groups, weights + layer.kernels, weights * made.side**2)

    @property
    def classes(self) -> int:
        """The number of classes: the neurons of the last layer."""
        last = self.layers[-1]
        return last.neurons if isinstance(last, Full) else last.kernels

    @property
    def parameters(self) -> int:
        """All weights and biases; 60,965,224 for the paper's network."""
        return sum(row.parameters for row in self.rows())


STEP_NAMES: dict[type, str] = {Relu: "relu", ResponseNorm: "lrn", MapNorm: "map_norm", Pool: "pool", Dropout: "dropout"}


def named_steps(number: int, layer: Layer) -> list[tuple[str, Step]]:
    """Return the steps of layer `number` (from 1) with their names: relu1, lrn1, pool1; a repeated one is relu1_2.

    The nodes of the ONNX graph and the layer outputs of the parity pack carry these names.
    """
    seen: Counter[type] = Counter()
    named = []
    for step in layer.steps:
        seen[type(step)] += 1
        place = f"{number}" if seen[type(step)] == 1 else f"{number}_{seen[type(step)]}"
        named.append((f"{STEP_NAMES[type(step)]}{place}", step))
    return named


def conv1_padding(crop: int, size: int, stride: int, place: str) -> tuple[int, int]:
    """Return conv1's zeros before and after.

    `after` is what the 2012 source computes: none before, and after just enough for the last position
    to be whole (3 for a crop of 224: 55 = 1 + ceil((224 - 11) / 4)). `both` is 2 and 2, `none` neither.
    """
    if place == "after":
        return 0, -(crop - size) % stride
    return (2, 2) if place == "both" else (0, 0)


def layer_table(network: NetworkRecipe) -> Architecture:
    """Return the network that a recipe describes, checked from the first layer to the last.

    Raises RecipeError when the widths do not divide into the columns or the crop is too small.
    """
    layers: list[Layer] = []
    for place, kernels in enumerate(network.kernels):
        size, stride = network.sizes[place], network.strides[place]
        pad = (size // 2, size // 2)
        if place == 0:
            pad = conv1_padding(network.crop, size, stride, network.conv1_padding)
        steps = tuple(_step(network, name) for name in network.steps[place])
        width = network.columns * max(1, round(kernels * network.width / network.columns))
        layers.append(Conv(f"conv{place + 1}", width, size, stride, pad, network.sees[place], steps))
    number = len(layers)
    drop = (Dropout(network.dropout),) if network.dropout else ()
    for neurons in network.hidden:
        number += 1
        width = network.columns * max(1, round(neurons * network.width / network.columns))
        layers.append(Full(f"fc{number}", width, (Relu(), *drop)))
    layers.append(Full(f"fc{number + 1}", network.classes, ()))
    architecture = Architecture(network.crop, network.columns, tuple(layers))
    list(architecture.rows())
    return architecture


def _step(network: NetworkRecipe, name: str) -> Step:
    """Return the step that a recipe calls `name`, with the recipe's constants."""
    if name == "lrn":
        return ResponseNorm(network.lrn_size, network.lrn_alpha, network.lrn_beta, network.lrn_k, network.lrn_scope)
    if name == "pool":
        return Pool(network.pool_size, network.pool_stride)
    return MapNorm() if name == "map_norm" else Relu()
