"""Pictures to be decoded, in any format, and what the tests of decoding compare."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.decoding import decode_picture
from alexnet.pictures import Preprocessing

SIDE = Preprocessing(32)


def scene(height: int = 48, width: int = 72) -> npt.NDArray[np.uint8]:
    """Smooth colours that differ in every corner, so that turning and mirroring show, and JPEG changes little."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [255 * x / width, 255 * y / height, 255 * (1 - x / width) * (1 - y / height)]
    return np.stack(planes, axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    image = decode_picture(data, "picture")
    assert image.mode == "RGB"
    return np.asarray(image)


def largest_difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


RGB = Image.fromarray(scene())
JPEG = encoded(RGB, "JPEG")
