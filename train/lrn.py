"""Local response normalisation as torch layers, section 3.3 of the paper.

b = a / (k + alpha * sum of a^2 over the n adjacent maps)^beta. torch's own operator divides alpha by n
and knows no columns; these layers take the paper's constants as they are printed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from alexnet.architecture import MapNorm, ResponseNorm


def band(channels: int, groups: int, size: int) -> Tensor:
    """Return the weights [channels, channels / groups, 1, 1] of the 1x1 convolution that sums adjacent maps.

    Map i of a group sums the maps i - size // 2 to i + size // 2 of the same group, those that exist.
    """
    width = channels // groups
    place = torch.arange(width)
    near = ((place[:, None] - place[None, :]).abs() <= size // 2).float()
    return near.repeat(groups, 1)[:, :, None, None]


def power(s: Tensor, beta: float) -> Tensor:
    """Return s^beta; 0.75 by two square roots, which vectorise where a general power does not."""
    if beta == 0.75:
        root = s.sqrt()
        return root * root.sqrt()
    return s.pow(beta)


class ResponseNormFunction(torch.autograd.Function):
    """b = a / s^beta with s = k + the banded sum of a^2, and its gradient in one go.

    With t = g / s^beta, for the gradient g of b, the gradient of a is t - 2 beta a band(t a / s): the band is
    symmetric. Left to autograd, every step of the way up has two or three steps back, each over maps as large as the
    layer's; written out, training the paper's network on a CPU spends half as long here.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, weights: Tensor, k: Tensor, beta: float, groups: int) -> Tensor:
        """Return b [N, channels, H, W]; `weights` is alpha times `band`, `k` is [channels]."""
        s = functional.conv2d(a.square(), weights, k, groups=groups)
        divisor = power(s, beta)
        ctx.save_for_backward(a, s, divisor, weights)
        ctx.beta, ctx.groups = beta, groups
        return a / divisor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of a, and none of the constants."""
        a, s, divisor, weights = ctx.saved_tensors
        through = gradient / divisor
        summed = functional.conv2d((through * a).div_(s), weights, groups=ctx.groups)
        return through.sub_(summed.mul_(a), alpha=2.0 * ctx.beta), None, None, None, None


class LocalResponseNorm(nn.Module):
    """Normalisation across adjacent maps of [N, channels, H, W], of one column or of the whole layer.

    Computed in float32 also under autocast: the sum of squares of activations in the hundreds would lose
    its small terms in half precision.
    """

    band: Tensor

    def __init__(self, norm: ResponseNorm, channels: int, columns: int) -> None:
        super().__init__()
        self.norm = norm
        self.groups = columns if norm.scope == "column" else 1
        self.register_buffer("band", norm.alpha * band(channels, self.groups, norm.size), persistent=False)
        self.register_buffer("k", torch.full((channels,), norm.k), persistent=False)

    def forward(self, a: Tensor) -> Tensor:
        """Return the normalised maps, of the shape and type of `a`."""
        with torch.autocast(a.device.type, enabled=False):
            k = self.get_buffer("k")
            # torch gives `apply` no types.
            b: Tensor = ResponseNormFunction.apply(a.float(), self.band, k, self.norm.beta, self.groups)  # type: ignore[no-untyped-call]
            return b.to(a.dtype)


class LocalMapNorm(nn.Module):
    """Normalisation over the neighbours within each map: the 2012 source's second norm of layer 2."""

    def __init__(self, norm: MapNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, a: Tensor) -> Tensor:
        """Return the normalised maps, of the shape and type of `a`; positions outside the map count as 0."""
        size = self.norm.size
        with torch.autocast(a.device.type, enabled=False):
            wide = a.float()
            total = functional.avg_pool2d(wide.square(), size, 1, size // 2, divisor_override=1)
            return (wide / power(self.norm.k + self.norm.alpha * total, self.norm.beta)).to(a.dtype)
