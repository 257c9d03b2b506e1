"""Crop geometry, section 4.1: the four corners and the centre, and their mirrors.

Training draws its random crops from the same grid; evaluation, the ten-crop graph and the figures
take the offsets from here, so that no stage can disagree about which pixel a crop starts at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CROPS = 10


def centre_offset(picture: int, crop: int) -> int:
    """Return the first row (and column) of the centre crop, in pixels; an odd margin leaves less before."""
    return (picture - crop) // 2


def five_offsets(picture: int, crop: int) -> tuple[tuple[int, int], ...]:
    """Return (row, column) of the top-left pixel of the corner crops and the centre crop, in that order."""
    last, middle = picture - crop, centre_offset(picture, crop)
    return (0, 0), (0, last), (last, 0), (last, last), (middle, middle)


def ten_crops(pictures: npt.NDArray[np.generic], crop: int) -> npt.NDArray[np.generic]:
    """Return the ten crops of each picture.

    `pictures` is [N, S, S, C]; the result [10, N, crop, crop, C]: the five crops of `five_offsets`, then
    the mirror image (left to right) of each. The paper averages the ten softmax outputs (section 4.1).
    """
    side = pictures.shape[1]
    five = [pictures[:, y : y + crop, x : x + crop] for y, x in five_offsets(side, crop)]
    return np.stack([*five, *(part[:, :, ::-1] for part in five)])


def centre_index(crops: int, stem: str) -> int:
    """Return the place of the centre crop among the views that an exported graph makes of one picture.

    The plain graph keeps the order of `ten_crops`; a shared stem takes each crop from the picture and its mirror
    in turn; a graph of one crop has no other.
    """
    if crops == 1:
        return 0
    return 8 if stem in ("shared", "deep") else 4
