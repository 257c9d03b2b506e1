"""The arithmetic of training views on the device: bytes travel, a quarter of what floats would take."""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet.train.augment import Views


def finish_views(crops: Tensor, views: Views, mean: Tensor, divisor: float = 1.0) -> Tensor:
    """Return the views that `render_views` makes, float32 [N, crop, crop, 3], on the crops' device.

    `crops` is uint8 [N, crop, crop, 3] of `cut_crops` and `mean` float32 [S, S, 3], both on the device. The operations
    are the same in the same order, so the values are equal bit for bit.
    """
    device, crop = crops.device, crops.shape[1]
    steps = torch.arange(crop, device=device)
    rows = torch.from_numpy(views.tops).to(device)[:, None] + steps
    columns = torch.from_numpy(views.lefts).to(device)[:, None] + steps
    centred = crops.float() - mean[rows[:, :, None], columns[:, None, :]]
    shifted = centred + torch.from_numpy(views.shifts).to(device)[:, None, None, :]
    mirrored = torch.from_numpy(views.mirrored).to(device)[:, None, None, None]
    finished = torch.where(mirrored, shifted.flip(2), shifted)
    return finished if divisor == 1.0 else finished / divisor
