"""The one preprocessing function: a file of any size and mode becomes a square of RGB pixels.

Preparation, evaluation, calibration and inference all call `load_picture`, and the parameters travel
with the model, so that a deployed engine sees the pixels that the network was trained on.
Section 2: the shorter side is brought to 256 pixels, and the central 256 x 256 is kept.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from alexnet.errors import InputError, ModelError, PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# A picture of more pixels is refused before it is decoded: 100 megapixels take 300 MB as RGB.
PIXEL_LIMIT = 100_000_000

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a square: `side` in pixels, the resize rule, and the filter."""

    side: int = 256
    resize: str = "shorter side, then centre"
    filter: str = "bilinear, antialiased"

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"side": self.side, "resize": self.resize, "filter": self.filter}

    @staticmethod
    def from_values(values: dict[str, Any]) -> Preprocessing:
        """Return the preprocessing a model names; ModelError when this toolchain does not do it."""
        mine = Preprocessing(side=int(values.get("side", 0)))
        if mine.side < 1 or mine.to_values() != values:
            raise ModelError(
                f"the model expects preprocessing {values}, this version does {Preprocessing().to_values()}; "
                "use the version of the toolchain that exported the model, or export it again"
            )
        return mine


def decode_picture(data: bytes, name: str) -> Image.Image:
    """Return the encoded picture `data` as an upright RGB image.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted (transparency over white), and
    the EXIF orientation is applied. Only JPEG, PNG, WebP, BMP and TIFF are decoded, the first frame of
    each. Raises PictureError, naming the picture `name`, for other formats, truncated data, or more
    than PIXEL_LIMIT pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _refuse_size(image.width, image.height, name)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture in {', '.join(FORMATS)} ({_looks_like(data)}); convert it or leave it out"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has far more than {PIXEL_LIMIT:,} pixels; make it smaller") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        MemoryError,
        IndexError,
        TypeError,
        KeyError,
    ) as error:
        raise PictureError(f"{name} cannot be decoded, it is truncated or damaged: {error}; replace it") from None


def _refuse_size(width: int, height: int, name: str) -> None:
    """Raise PictureError for a picture of no pixels or more than the limit."""
    if width * height > PIXEL_LIMIT:
        raise PictureError(
            f"{name} has {width} x {height} = {width * height:,} pixels, the limit is {PIXEL_LIMIT:,}; make it smaller"
        )
    if width < 1 or height < 1:
        raise PictureError(f"{name} has {width} x {height} pixels; replace it")


def _looks_like(data: bytes) -> str:
    """Return what the bytes seem to be, for the message that refuses them."""
    if not data:
        return "the file is empty"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "it is a GIF"
    if data[:4] == b"%PDF":
        return "it is a PDF"
    try:
        data[:256].decode("ascii")
    except UnicodeDecodeError:
        return "its first bytes are " + data[:4].hex(" ")
    return "it is text"


def _rgb(image: Image.Image) -> Image.Image:
    """Return `image` as RGB: 16-bit greys scaled to 8 bits, transparency laid over white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        # 16-bit files use 0..65535; a 32-bit integer or float file is stretched over its own range.
        top = 65535.0 if image.mode.startswith("I;16") else max(65535.0, float(values.max(initial=0.0)))
        if image.mode == "F" and values.max(initial=0.0) <= 1.0:
            top = 1.0
        return Image.fromarray((values.clip(0.0, top) / top * 255.0).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Return the centre of an RGB image, shorter side brought to S pixels, as uint8 [S, S, 3] (section 2).

    Resizing is Pillow's antialiased bilinear, reading only the part of the picture that is kept.
    """
    side, (width, height) = preprocessing.side, image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    if (width, height) != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image, dtype=np.uint8)


def load_picture(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Return the picture in a file as uint8 [S, S, 3]; PictureError when it cannot be read or decoded."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}") from None
    return square(decode_picture(data, str(path)), preprocessing)


def find_pictures(paths: list[Path]) -> Iterator[Path]:
    """Yield the files named, and the pictures under the folders named, each folder walked in sorted order.

    A file is yielded whatever its suffix; in a folder those of SUFFIXES count, and hidden ones do not.
    Raises InputError when a path is missing or a folder holds no picture.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a picture or a folder of pictures")
        if not path.is_dir():
            yield path
            continue
        found = False
        for file in _walk(path):
            found = True
            yield file
        if not found:
            raise InputError(f"{path} holds no pictures ({', '.join(SUFFIXES)}); give a folder that does")


def _walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the pictures under `folder`, depth first, names in sorted order; a link to a folder above is left out."""
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}; mend its permissions") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, (*above, here))
        elif entry.suffix.lower() in SUFFIXES:
            yield entry
