"""Enlarging the training set, section 4.1: random crops, mirrors, and shifts along the colours' components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Views:
    """How each picture of a batch is seen: its crop's top-left pixel, mirrored or not, and a colour shift [N, 3]."""

    tops: npt.NDArray[np.int64]
    lefts: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]
    shifts: Floats

    def part(self, chosen: slice) -> Views:
        """Return the views of some of the pictures."""
        return Views(self.tops[chosen], self.lefts[chosen], self.mirrored[chosen], self.shifts[chosen])


def draw_views(
    number: int, side: int, crop: int, statistics: Statistics, recipe: AugmentRecipe, random: np.random.Generator
) -> Views:
    """Draw how `number` pictures of `side` pixels are seen.

    The colour shift is drawn once for each picture: the eigenvectors times N(0, `colour`) times the standard deviation
    along each. The text says eigenvalue; on 0..255 pixels that would shift by hundreds, and the 2012 source uses its
    root.
    """
    corners = np.full((2, number), centre_offset(side, crop))
    if recipe.crops:
        corners = random.integers(0, side - crop + 1, size=(2, number))
    mirrored = np.asarray(random.random(number)) < (0.5 if recipe.mirrors else 0.0)
    factors = recipe.colour * random.standard_normal((number, 3))
    shifts = (factors * np.sqrt(statistics.eigenvalues)) @ statistics.eigenvectors.T
    return Views(corners[0], corners[1], mirrored, shifts.astype(np.float32))


def cut_crops(pictures: Sequence[Pixels] | Pixels, views: Views, crops: Pixels) -> None:
    """Write each picture's crop as bytes into `crops`, uint8 [N, crop, crop, 3], not yet mirrored: what a GPU takes."""
    crop = crops.shape[1]
    for place, (top, left) in enumerate(zip(views.tops.tolist(), views.lefts.tolist(), strict=True)):
        crops[place] = pictures[place][top : top + crop, left : left + crop]


def render_views(
    pictures: Sequence[Pixels] | Pixels,
    statistics: Statistics,
    views: Views,
    crop: int,
    divisor: float = 1.0,
    out: Floats | None = None,
) -> Floats:
    """Return one training view of each picture: float32 [N, crop, crop, 3], less the mean, over `divisor`.

    `pictures` is N of uint8 [S, S, 3]; the views are written into `out` where it is given. The mean is subtracted at
    the pixels the crop was taken from. A mirrored view is the mirrored bytes less the mirrored mean, so that all
    arithmetic runs over whole rows of crop * 3 values.
    """
    number, side = len(pictures), statistics.mean.shape[0]
    finished = np.empty((number, crop, crop, 3), dtype=np.float32) if out is None else out
    rendered = finished.reshape(number, crop, crop * 3)
    means = [np.ascontiguousarray(mean).reshape(side, side * 3) for mean in (statistics.mean, statistics.mean[:, ::-1])]
    shifts = np.tile(views.shifts, (1, crop))
    for place in range(number):
        top, left, mirrored = int(views.tops[place]), int(views.lefts[place]), bool(views.mirrored[place])
        pixels = pictures[place][top : top + crop, left : left + crop]
        first = left
        if mirrored:
            # As elements of three bytes a pixel keeps the order of its colours.
            pixels = np.ascontiguousarray(pixels).view("V3")[:, ::-1].copy().view(np.uint8)
            first = side - crop - left
        row = rendered[place]
        row[...] = pixels.reshape(crop, crop * 3)
        row -= means[mirrored][top : top + crop, first * 3 : (first + crop) * 3]
        row += shifts[place]
    if divisor != 1.0:
        rendered /= np.float32(divisor)
    return finished


def augment_batch(
    pictures: Pixels,
    statistics: Statistics,
    recipe: AugmentRecipe,
    crop: int,
    random: np.random.Generator,
    divisor: float = 1.0,
) -> Floats:
    """Draw and render one training view of each picture; see `draw_views` and `render_views`."""
    views = draw_views(len(pictures), pictures.shape[1], crop, statistics, recipe, random)
    return render_views(pictures, statistics, views, crop, divisor)
