"""The paper's update rule, section 5, as an optimizer of its own.

    v := momentum * v - weight_decay * lr * w - lr * grad
    w := w + v

torch.optim.SGD keeps the learning rate outside v and multiplies the whole velocity by the current one:
the two walk together only while the learning rate stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class PaperSgd(torch.optim.Optimizer):
    """Stochastic gradient descent with the learning rate inside the velocity; all tensors in one call each.

    `learning_rate` is per batch of averaged gradients; `weight_decay` falls on weights and biases alike, as
    the paper's rule says.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, learning_rate: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight once from its gradient; a `closure` is evaluated first, as torch expects."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            velocities = [self.velocity(weight) for weight in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, weights, alpha=-group["weight_decay"] * group["lr"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)
        return loss

    def velocity(self, weight: Tensor) -> Tensor:
        """Return the velocity of a weight, zeros before its first update."""
        state: dict[str, Any] = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity = state["velocity"]
        assert isinstance(velocity, Tensor)
        return velocity

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use `learning_rate` from the next step on."""
        for group in self.param_groups:
            group["lr"] = learning_rate
