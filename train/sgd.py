"""The paper's update rule, section 5, as an optimizer of its own.

    v := momentum * v - weight_decay * lr * w - lr * grad
    w := w + v

torch.optim.SGD keeps the learning rate outside v and multiplies the whole velocity by the current one:
the two walk together only while the learning rate stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from alexnet.recipe import SgdRecipe


class PaperSgd(torch.optim.Optimizer):
    """Stochastic gradient descent with the learning rate inside the velocity; all tensors in one call each.

    `learning_rate` is per batch of averaged gradients; `weight_decay` falls on weights and biases alike, as
    the paper's rule says, unless parameter groups say otherwise. A group may have a `rate`, a factor on the
    learning rate, and a `layer`, by which `set_learning_rate` finds it.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | list[dict[str, Any]],
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay, "rate": 1.0, "layer": ""}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight once from its gradient; a `closure` is evaluated first, as torch expects."""
        loss = None if closure is None else closure()
        for (rate, momentum, decay), weights in self._alike().items():
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            velocities = [self.velocity(weight) for weight in weights]
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, weights, alpha=-decay * rate)
            torch._foreach_add_(velocities, gradients, alpha=-rate)
            torch._foreach_add_(weights, velocities)
        return loss

    def _alike(self) -> dict[tuple[float, float, float], list[Tensor]]:
        """Return the weights that have gradients, those of one rate, momentum and decay together."""
        alike: dict[tuple[float, float, float], list[Tensor]] = {}
        for group in self.param_groups:
            key = (group["lr"], group["momentum"], group["weight_decay"])
            alike.setdefault(key, []).extend(weight for weight in group["params"] if weight.grad is not None)
        return alike

    def velocity(self, weight: Tensor) -> Tensor:
        """Return the velocity of a weight, zeros before its first update."""
        state: dict[str, Any] = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity = state["velocity"]
        assert isinstance(velocity, Tensor)
        return velocity

    def set_learning_rate(self, learning_rate: float, factors: Mapping[str, float] = MappingProxyType({})) -> None:
        """Use `learning_rate` from the next step on, times each group's own `rate` and `factors[layer]` if given."""
        for group in self.param_groups:
            group["lr"] = learning_rate * group["rate"] * factors.get(group["layer"], 1.0)


def parameter_groups(named: Iterable[tuple[str, Tensor]], recipe: SgdRecipe) -> list[dict[str, Any]]:
    """Return one group for each weight and bias, with the recipe's rate and decay of biases; names as `conv1.bias`."""
    groups = []
    for name, parameter in named:
        layer, kind = name.rsplit(".", 1)
        bias = kind == "bias"
        groups.append(
            {
                "params": [parameter],
                "layer": layer,
                "rate": recipe.bias_rate if bias else 1.0,
                "weight_decay": recipe.weight_decay if recipe.decay_biases or not bias else 0.0,
            }
        )
    return groups
