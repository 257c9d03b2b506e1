"""Local response normalisation as torch layers, section 3.3 of the paper.

b = a / (k + alpha * sum of a^2 over the n adjacent maps)^beta. torch's own operator divides alpha by n
and knows no columns; these layers take the paper's constants as they are printed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
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
            wide = a.float()
            s = functional.conv2d(wide.square(), self.band, self.get_buffer("k"), groups=self.groups)
            return (wide / power(s, self.norm.beta)).to(a.dtype)


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
