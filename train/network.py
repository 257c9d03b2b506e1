"""The network as a torch module, built from the layer table.

One merged module: the two columns are the groups of the convolutions that see their own column only
(section 3.2, Figure 2), so that a single device trains the paper's network.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet.architecture import Architecture, Conv, Dropout, MapNorm, Pool, Relu, ResponseNorm, Row, Step
from alexnet.recipe import Recipe
from alexnet.train.lrn import LocalMapNorm, LocalResponseNorm


class PaperDropout(nn.Module):
    """Dropout as the paper words it (section 4.2): outputs are zeroed in training and scaled at test time.

    torch's own dropout is inverted: it scales in training. The two networks answer alike, but their weights
    differ by the factor, and so do their learning rates in effect.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with a share `rate` of zeros in training, or times 1 - rate at test time."""
        if self.training:
            return x * (torch.rand_like(x, dtype=torch.float32) >= self.rate).to(x.dtype)
        return x * (1.0 - self.rate)


class Network(nn.Module):
    """The network of a layer table; parameters are named after its layers: `conv1.weight`, `fc8.bias`.

    Input: crops float [N, 3, crop, crop], values 0..255 less the mean. Output: logits [N, classes].
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.stages: list[tuple[str, list[str]]] = []
        for row in architecture.rows():
            layer = row.layer
            self.add_module(layer.name, _linear_part(row))
            names = []
            for place, step in enumerate(layer.steps):
                name = f"{layer.name}_{place + 1}_{type(step).__name__.lower()}"
                self.add_module(name, _step_module(step, row, architecture.columns))
                names.append(name)
            self.stages.append((layer.name, names))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of crops [N, 3, crop, crop]."""
        for (name, steps), layer in zip(self.stages, self.architecture.layers, strict=True):
            if isinstance(layer, Conv):
                if layer.pad[0] != layer.pad[1]:
                    x = functional.pad(x, (layer.pad[0], layer.pad[1]) * 2)
            elif x.dim() == 4:
                x = x.flatten(1)
            x = self.get_submodule(name)(x)
            for step in steps:
                x = self.get_submodule(step)(x)
        return x


def _linear_part(row: Row) -> nn.Module:
    """Return the convolution or matrix of a row; uneven padding is left to `Network.forward`."""
    layer = row.layer
    if not isinstance(layer, Conv):
        return nn.Linear(row.input.size, layer.neurons)
    padding = layer.pad[0] if layer.pad[0] == layer.pad[1] else 0
    return nn.Conv2d(row.input.channels, layer.kernels, layer.size, layer.stride, padding, groups=row.groups)


def _step_module(step: Step, row: Row, columns: int) -> nn.Module:
    """Return the torch module of one step of a row."""
    match step:
        case Relu():
            return nn.ReLU()
        case ResponseNorm():
            return LocalResponseNorm(step, row.made.channels, columns)
        case MapNorm():
            return LocalMapNorm(step)
        case Pool():
            return nn.MaxPool2d(step.size, step.stride)
        case Dropout():
            return PaperDropout(step.rate)


def start_weights(network: Network, recipe: Recipe) -> None:
    """Draw the initial weights in place: normal with mean 0 and the recipe's spread, biases as given (section 5).

    The draw is fixed by the recipe's seed. A network of width w takes spread / sqrt(w), so that its layers'
    outputs start with the variance that they have at full width.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    scale = recipe.network.width**-0.5 if recipe.start.scale_by_width else 1.0
    with torch.no_grad():
        for (name, _), spread, bias in zip(network.stages, recipe.start.spread, recipe.start.bias, strict=True):
            layer = network.get_submodule(name)
            weight, constant = layer.get_parameter("weight"), layer.get_parameter("bias")
            weight.copy_(torch.randn(weight.shape, generator=generator) * (spread * scale))
            constant.fill_(bias)


def numpy_weights(network: Network) -> Mapping[str, npt.NDArray[np.float32]]:
    """Return the parameters by name as float32 arrays: what the exporter builds its graph from."""
    return {name: value.detach().float().cpu().numpy() for name, value in network.named_parameters()}
