"""Decoding with limits: the bytes of a picture of any mode become an upright RGB image, or an error that names it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from alexnet.errors import PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
# A picture of more pixels is refused before it is decoded: 100 megapixels take 300 MB as RGB.
PIXEL_LIMIT = 100_000_000

# EXIF orientation -> what turns the picture upright; 1 is upright already, other values say nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of damage and of size, and both are reported here as errors. The filter stands for the whole
# process because warnings.catch_warnings is not safe in threads.
for _category in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", category=_category, module=r"PIL\.")


def decode_picture(data: bytes, name: str) -> Image.Image:
    """Return the encoded picture `data` as an upright RGB image.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted (transparency over white), and
    the EXIF orientation is applied. Only JPEG, PNG, WebP, BMP and TIFF are decoded, the first frame of
    each. Raises PictureError, naming the picture `name`, for other formats, truncated data, or more
    than PIXEL_LIMIT pixels.
    """
    with damage_as_picture_error(data, name):
        return decoded(open_picture(data, name))


@contextlib.contextmanager
def damage_as_picture_error(data: bytes, name: str) -> Iterator[None]:
    """Turn whatever Pillow raises over the picture `data` into a PictureError that names it."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture in {', '.join(FORMATS)} ({_looks_like(data)}); convert it or leave it out"
        ) from None
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has far more than {PIXEL_LIMIT:,} pixels; make it smaller") from None
    except Exception as error:
        # Damaged files make Pillow raise nearly anything, struct.error and ZeroDivisionError among them.
        raise PictureError(f"{name} cannot be decoded, it is truncated or damaged: {error}; replace it") from None


def open_picture(data: bytes, name: str, limit: int | None = None) -> Image.Image:
    """Return the picture with its header read and nothing decoded; PictureError when it is too large."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    _refuse_size(image.width, image.height, name, PIXEL_LIMIT if limit is None else limit)
    return image


def decoded(image: Image.Image) -> Image.Image:
    """Return an opened picture as RGB, turned upright."""
    image.load()
    return upright(_rgb(image), image)


def upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Return the pixels of an opened picture turned as its EXIF orientation says."""
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return pixels if turn is None else pixels.transpose(turn)


def _refuse_size(width: int, height: int, name: str, limit: int) -> None:
    """Raise PictureError for a picture of no pixels or more than the limit."""
    if width * height > limit:
        raise PictureError(
            f"{name} has {width} x {height} = {width * height:,} pixels, the limit is {limit:,}; make it smaller"
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
    start = data[:256]
    if start.isascii() and all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):
        return "it is text"
    return "its first bytes are " + start[:4].hex(" ")


def _rgb(image: Image.Image) -> Image.Image:
    """Return `image` as RGB: 16-bit greys scaled to 8 bits, transparency laid over white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        top = _full_scale(image.mode, float(values.max(initial=0.0)))
        return Image.fromarray((values.clip(0.0, top) * (255.0 / top)).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _full_scale(mode: str, largest: float) -> float:
    """Return the value that is white: 65535 in 16-bit files, the least usual full scale that holds the rest."""
    if mode.startswith("I;16"):
        return 65535.0
    usual = (65535.0,) if mode == "I" else (1.0, 255.0, 65535.0)
    return next((scale for scale in usual if largest <= scale), largest)
