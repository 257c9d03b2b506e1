"""Enlarging the training set, section 4.1: random crops, mirrors, and shifts along the colours' components."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alexnet.crops import centre_offset
from alexnet.recipe import AugmentRecipe
from alexnet.train.data.statistics import Statistics

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def draws(seed: int, *place: int) -> np.random.Generator:
    """Return the random generator of one place in training (epoch, batch): the same in every run and resume."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *place])))


def augment_batch(
    pictures: Pixels,
    statistics: Statistics,
    recipe: AugmentRecipe,
    crop: int,
    random: np.random.Generator,
    divisor: float = 1.0,
) -> Floats:
    """Return one training view of each picture: float32 [N, crop, crop, 3], less the mean, over `divisor`.

    `pictures` is uint8 [N, S, S, 3]. The mean is subtracted at the pixels the crop was taken from. The colour
    shift is drawn once for each picture: the eigenvectors times N(0, `colour`) times the standard deviation
    along each. The text says eigenvalue; on 0..255 pixels that would shift by hundreds, and the 2012 source
    uses its root.
    """
    number, side = pictures.shape[0], pictures.shape[1]
    corners = np.full((2, number), centre_offset(side, crop))
    if recipe.crops:
        corners = random.integers(0, side - crop + 1, size=(2, number))
    tops, lefts = corners
    mirrored = np.asarray(random.random(number)) < (0.5 if recipe.mirrors else 0.0)
    factors = recipe.colour * random.standard_normal((number, 3))
    shifts = (factors * np.sqrt(statistics.eigenvalues)) @ statistics.eigenvectors.T
    views = np.empty((number, crop, crop, 3), dtype=np.float32)
    for place in range(number):
        rows = slice(tops[place], tops[place] + crop)
        columns = slice(lefts[place], lefts[place] + crop)
        view = views[place, :, ::-1] if mirrored[place] else views[place]
        np.subtract(pictures[place, rows, columns], statistics.mean[rows, columns], out=view)
        view += shifts[place].astype(np.float32)
    if divisor != 1.0:
        views /= np.float32(divisor)
    return views
