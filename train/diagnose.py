"""What goes wrong in training, in words: a loss that is not finite, and a net that does not begin to learn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from alexnet.train.columns import SplitNetwork
from alexnet.train.network import Network

# A loss this near ln(classes) is that of answers that are all alike.
NEAR = 0.01
PATIENCE = 3


def first_not_finite(network: Network | SplitNetwork, crops: Tensor) -> str:
    """Return where a forward pass over `crops` first leaves the finite numbers: a layer's weights or its output."""
    for name, weight in network.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            return f"the weights {name} are not finite"
    if not bool(torch.isfinite(crops).all()):
        return "the pictures themselves are not finite"
    found: list[str] = []
    hooks: list[torch.utils.hooks.RemovableHandle] = []

    def look(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not found and not bool(torch.isfinite(output).all()):
                found.append(f"the output of {name} is not finite")

        hooks.append(network.get_submodule(name).register_forward_hook(hook))

    for layer, steps in network.stages:
        for name in (layer, *steps):
            look(name)
    with torch.no_grad():
        network(crops)
    for handle in hooks:
        handle.remove()
    return found[0] if found else "every layer's output is finite, only the loss overflows"


def stuck(losses: list[float], classes: int) -> str | None:
    """Return a warning when the last epochs' losses all lie at ln(classes), else None."""
    level = math.log(classes)
    last = losses[-PATIENCE:]
    if len(last) < PATIENCE or any(abs(loss - level) > NEAR for loss in last):
        return None
    return (
        f"the loss has stayed at ln({classes}) = {level:.3f} for {PATIENCE} epochs: every answer is alike. "
        "Likely causes: starting weights too small for this width (try the 2012 source's start.spread, 0.03 in conv3 "
        "to conv5), or biases of 1 on a small set (try start.bias of 0), or a learning rate too high for either"
    )
