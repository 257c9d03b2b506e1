"""The one preprocessing function: a file of any size and mode becomes a square of RGB pixels.

Preparation, evaluation, calibration and inference all call `load_picture`, and the parameters travel
with the model, so that a deployed engine sees the pixels that the network was trained on.
Section 2: the shorter side is brought to 256 pixels, and the central 256 x 256 is kept. Nets imported from Caffe
have pictures warped to 256 x 256 instead.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.decoding import damage_as_picture_error, decoded, open_picture, upright
from alexnet.errors import ModelError
from alexnet.picture_files import read_picture
from alexnet.recipe import DataRecipe, Resize

# Pictures of more pixels are decoded one at a time, so that memory does not grow with the number of threads.
LARGE = 25_000_000
_large_turn = threading.Lock()
# A JPEG may be decoded at a fraction of its size that leaves this many times the side of the square. Of 50 photographs
# at sides of 16 to 128, values 0 to 255 then differed by 29 at most, where texture is finest, and by 2.9 in a picture's
# mean; that is no rounding, so it is done on request only.
SCALED_SIDES, SCALED_BOUND, SCALED_MEAN_BOUND = 4, 32, 3.0

Pixels = npt.NDArray[np.uint8]
# Decodes the bytes of an opened picture, or leaves that to Pillow.
Decode = Callable[[bytes, Image.Image], Image.Image | None]

# The resize rules by their names in a recipe.
RESIZES: dict[Resize, str] = {"shorter": "shorter side, then centre", "warp": "both sides, whatever their ratio"}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a square: `side` in pixels, the resize rule (of RESIZES), and the filter."""

    side: int = 256
    resize: str = RESIZES["shorter"]
    filter: str = "bilinear, antialiased"

    @staticmethod
    def of(data: DataRecipe) -> Preprocessing:
        """Return the preprocessing that a recipe asks for."""
        return Preprocessing(data.picture, RESIZES[data.resize])

    @property
    def rule(self) -> Resize:
        """The resize rule's name in a recipe and on the command line."""
        return next(name for name, words in RESIZES.items() if words == self.resize)

    def recipe(self) -> DataRecipe:
        """Return the recipe that asks for this preprocessing."""
        return DataRecipe(picture=self.side, resize=self.rule)

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"side": self.side, "resize": self.resize, "filter": self.filter}

    @staticmethod
    def from_values(values: dict[str, Any]) -> Preprocessing:
        """Return the preprocessing a model names; ModelError when this toolchain does not do it."""
        mine = Preprocessing(side=int(values.get("side", 0)), resize=str(values.get("resize")))
        if mine.side < 1 or mine.resize not in RESIZES.values() or mine.to_values() != values:
            raise ModelError(
                f"the model expects preprocessing {values}, this version does {Preprocessing().to_values()}; "
                "use the version of the toolchain that exported the model, or export it again"
            )
        return mine


def square(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Return an RGB image as uint8 [S, S, 3]: its centre, shorter side brought to S pixels (section 2), or all of it.

    Resizing is Pillow's antialiased bilinear, reading only the part of the picture that is kept.
    """
    side, (width, height) = preprocessing.side, image.size
    across, down = (width, height) if preprocessing.rule == "warp" else (min(width, height),) * 2
    left, top = (width - across) / 2, (height - down) / 2
    box = (left, top, left + across, top + down)
    if (width, height) != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image, dtype=np.uint8)


def load_picture(
    path: Path, preprocessing: Preprocessing, *, scaled: bool = False, decode: Decode | None = None
) -> Pixels:
    """Return the picture in a file as uint8 [S, S, 3]; PictureError when it cannot be read or decoded.

    `scaled` decodes a JPEG at a half, a quarter or an eighth of its size where at least SCALED_SIDES times S remain, in
    about half the time; values then differ from those of the whole picture, by SCALED_BOUND of 255 at most in
    photographs, and by SCALED_MEAN_BOUND in the mean. `decode` may return the RGB pixels of the file's bytes, whose
    header Pillow has read and allowed, in Pillow's place, or None.
    Any number of threads may call it; pictures of more than LARGE pixels are decoded one at a time.
    """
    return picture_of(read_picture(path), str(path), preprocessing, scaled=scaled, decode=decode)


def picture_of(
    data: bytes,
    name: str,
    preprocessing: Preprocessing,
    *,
    scaled: bool = False,
    decode: Decode | None = None,
    limit: int | None = None,
) -> Pixels:
    """Return the encoded picture `data`, called `name` in errors, as `load_picture` does that of a file.

    `limit` is the most pixels, PIXEL_LIMIT where it is None.
    """
    with damage_as_picture_error(data, name):
        image = open_picture(data, name, limit)
        large = image.width * image.height > LARGE
        if scaled:
            # libjpeg's scaling in the frequency domain; Pillow ignores it for other formats.
            rate = preprocessing.side * SCALED_SIDES / min(image.size)
            image.draft(None, (math.ceil(image.width * rate), math.ceil(image.height * rate)))
        with _large_turn if large else contextlib.nullcontext():
            pixels = decode(data, image) if decode else None
            return square(decoded(image) if pixels is None else upright(pixels, image), preprocessing)
