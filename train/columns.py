"""The two columns, section 3.2: half of the kernels and neurons on each device, crossing only where Figure 2 crosses.

A `SplitNetwork` is one column. Its activations meet the others' into the convolutions that see both columns (conv3) and
into the fully connected layers; everything else stays on the device. Together the columns are the merged `Network`:
same parameters, same answers, same gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from alexnet.architecture import Architecture, Conv, MapNorm, Pool, Relu, ResponseNorm, Row, Step
from alexnet.train.lrn import LocalMapNorm, LocalResponseNorm
from alexnet.train.network import PaperDropout
from alexnet.train.traffic import shares


@dataclass
class Traffic:
    """Bytes that this column received from the others, by the layer they went into."""

    forward: dict[str, int] = field(default_factory=dict)
    backward: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def add(counts: dict[str, int], layer: str, received: int) -> None:
        """Count bytes received for a layer."""
        counts[layer] = counts.get(layer, 0) + received


@dataclass(frozen=True)
class Crossing:
    """One place where columns meet: the layer it feeds, the sizes of the columns' parts along dimension 1.

    `summed` says whose gradients return: where each column's consumers are its own (conv3, the fully connected
    layers) the gradients of all are summed; where every column computes the same loss from the gathered logits each
    already has the whole gradient and keeps its part.
    """

    layer: str
    sizes: tuple[int, ...]
    column: int
    group: dist.ProcessGroup
    traffic: Traffic
    summed: bool


class _Gather(torch.autograd.Function):
    """All parts of the columns side by side (torch.distributed all_gather), with the backward that belongs to it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, crossing: Crossing) -> Tensor:
        ctx.crossing = crossing
        shape = part.shape
        parts = [part.new_empty((shape[0], size, *shape[2:])) for size in crossing.sizes]
        received = _exchange([part.contiguous()] * len(parts), parts, crossing.group)
        Traffic.add(crossing.traffic.forward, crossing.layer, received - _bytes(part))
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        crossing: Crossing = ctx.crossing
        slices = [part.contiguous() for part in torch.split(gradients[0], list(crossing.sizes), dim=1)]
        mine = slices[crossing.column]
        if not crossing.summed:
            return mine, None
        returned = [torch.empty_like(mine) for _ in crossing.sizes]
        received = _exchange(slices, returned, crossing.group)
        Traffic.add(crossing.traffic.backward, crossing.layer, received - _bytes(mine))
        # In the order of the columns on every rank, so that a rerun adds in the same order.
        return torch.stack(returned).sum(dim=0), None


def _exchange(outgoing: list[Tensor], incoming: list[Tensor], group: dist.ProcessGroup) -> int:
    """Send `outgoing[i]` to column i and fill `incoming[i]` from it; return the bytes in `incoming`."""
    flat = torch.cat([tensor.flatten() for tensor in outgoing])
    into = flat.new_empty(sum(tensor.numel() for tensor in incoming))
    sent, taken = [tensor.numel() for tensor in outgoing], [tensor.numel() for tensor in incoming]
    dist.all_to_all_single(into, flat, taken, sent, group=group)
    for tensor, values in zip(incoming, torch.split(into, taken), strict=True):
        tensor.copy_(values.view_as(tensor))
    return sum(_bytes(tensor) for tensor in incoming)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class SplitNetwork(nn.Module):
    """One column of a network, with the parameter names of the merged one.

    Input: crops float [N, 3, crop, crop], the same on every column. Output: the logits [N, classes] of all columns,
    so that each computes the same loss. `traffic` counts what it received from the others.
    """

    def __init__(self, architecture: Architecture, column: int, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.architecture = architecture
        self.column = column
        self.group = group
        self.traffic = Traffic()
        self.stages: list[tuple[str, list[str]]] = []
        for row in architecture.rows():
            layer = row.layer
            self.add_module(layer.name, self._linear_part(row))
            names = []
            for place, step in enumerate(layer.steps):
                name = f"{layer.name}_{place + 1}_{type(step).__name__.lower()}"
                self.add_module(name, self._step_module(step, row))
                names.append(name)
            self.stages.append((layer.name, names))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of crops [N, 3, crop, crop]."""
        first = True
        for (name, steps), row in zip(self.stages, self.architecture.rows(), strict=True):
            layer = row.layer
            if isinstance(layer, Conv):
                if not first and layer.sees == "both":
                    x = self.gather(x, name, row.input.channels)
                if layer.pad[0] != layer.pad[1]:
                    x = functional.pad(x, (layer.pad[0], layer.pad[1]) * 2)
            else:
                x = self.gather(x, name, row.input.channels).flatten(1)
            first = False
            x = self.get_submodule(name)(x)
            for step in steps:
                x = self.get_submodule(step)(x)
        return self.gather(x, "logits", self.architecture.classes, summed=False)

    def gather(self, part: Tensor, layer: str, size: int, summed: bool = True) -> Tensor:
        """Return all columns' parts of `size` maps or neurons side by side, for `layer` to see."""
        sizes = tuple(shares(size, self.architecture.columns))
        crossing = Crossing(layer, sizes, self.column, self.group, self.traffic, summed)
        # torch gives `apply` no types.
        whole: Tensor = _Gather.apply(part, crossing)  # type: ignore[no-untyped-call]
        return whole

    def _linear_part(self, row: Row) -> nn.Module:
        """Return this column's share of a row's convolution or matrix."""
        layer, columns = row.layer, self.architecture.columns
        if not isinstance(layer, Conv):
            return nn.Linear(row.input.size, shares(layer.neurons, columns)[self.column])
        padding = layer.pad[0] if layer.pad[0] == layer.pad[1] else 0
        seen = row.input.channels // row.groups
        return nn.Conv2d(seen, layer.kernels // columns, layer.size, layer.stride, padding)

    def _step_module(self, step: Step, row: Row) -> nn.Module:
        """Return the torch module of one step, over this column's share of the maps."""
        channels = row.made.channels
        match step:
            case Relu():
                return nn.ReLU()
            case ResponseNorm(scope="column"):
                return LocalResponseNorm(step, channels // self.architecture.columns, 1)
            case ResponseNorm():
                return _LayerWideNorm(self, step, row)
            case MapNorm():
                return LocalMapNorm(step)
            case Pool():
                return nn.MaxPool2d(step.size, step.stride)
            case _:
                return PaperDropout(step.rate)


class _LayerWideNorm(nn.Module):
    """Normalisation over the maps of all columns: they are gathered, and each column keeps its part of the result."""

    def __init__(self, network: SplitNetwork, norm: ResponseNorm, row: Row) -> None:
        super().__init__()
        self.name = row.layer.name
        self.channels = row.made.channels
        # Kept out of the module's children: a child that is its parent would recurse.
        self._network = (network,)
        self.norm = LocalResponseNorm(norm, self.channels, 1)

    def forward(self, part: Tensor) -> Tensor:
        """Return this column's normalised maps."""
        (network,) = self._network
        whole = self.norm(network.gather(part, f"{self.name}.lrn", self.channels))
        parts = torch.split(whole, shares(self.channels, network.architecture.columns), dim=1)
        return parts[network.column]


State = Mapping[str, Tensor]


def split_state(state: State, columns: int) -> list[dict[str, Tensor]]:
    """Return each column's part of merged tensors by name (weights, biases, velocities): cut along dimension 0.

    Every layer of every column keeps the inputs that it sees, so its outputs are all there is to cut.
    """
    return [
        {name: _cut(tensor, columns)[column].contiguous() for name, tensor in state.items()}
        for column in range(columns)
    ]


def _cut(tensor: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Return the columns' parts of a tensor, views of it along dimension 0."""
    return torch.split(tensor, shares(tensor.shape[0], columns))


def merge_states(parts: Sequence[State]) -> dict[str, Tensor]:
    """Return the merged tensors of all columns' parts, bit for bit what `split_state` cut."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
