"""The one preprocessing function: a file of any size and mode becomes a square of RGB pixels.

Preparation, evaluation, calibration and inference all call `load_picture`, and the parameters travel
with the model, so that a deployed engine sees the pixels that the network was trained on.
Section 2: the shorter side is brought to 256 pixels, and the central 256 x 256 is kept. Nets imported from Caffe
have pictures warped to 256 x 256 instead.
"""

from __future__ import annotations

import contextlib
import io
import math
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from alexnet.errors import InputError, ModelError, PictureError
from alexnet.recipe import DataRecipe, Resize

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# A picture of more pixels is refused before it is decoded: 100 megapixels take 300 MB as RGB.
PIXEL_LIMIT = 100_000_000
# The bytes of a file are held to what that many pixels take uncompressed, with room for 16 bits a channel.
FILE_LIMIT = 1_000_000_000
# Pictures of more pixels are decoded one at a time, so that memory does not grow with the number of threads.
LARGE = 25_000_000
_large_turn = threading.Lock()
# A JPEG may be decoded at a fraction of its size that leaves this many times the side of the square. Of 50 photographs
# at sides of 16 to 128, values 0 to 255 then differed by 29 at most, where texture is finest, and by 2.9 in a picture's
# mean; that is no rounding, so it is done on request only.
SCALED_SIDES, SCALED_BOUND, SCALED_MEAN_BOUND = 4, 32, 3.0

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


def decode_picture(data: bytes, name: str) -> Image.Image:
    """Return the encoded picture `data` as an upright RGB image.

    Grey, palette, CMYK, 16-bit and transparent pictures are converted (transparency over white), and
    the EXIF orientation is applied. Only JPEG, PNG, WebP, BMP and TIFF are decoded, the first frame of
    each. Raises PictureError, naming the picture `name`, for other formats, truncated data, or more
    than PIXEL_LIMIT pixels.
    """
    with _damage_as_picture_error(data, name):
        return _decoded(_opened(data, name))


@contextlib.contextmanager
def _damage_as_picture_error(data: bytes, name: str) -> Iterator[None]:
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


def _opened(data: bytes, name: str, limit: int | None = None) -> Image.Image:
    """Return the picture with its header read and nothing decoded; PictureError when it is too large."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    _refuse_size(image.width, image.height, name, PIXEL_LIMIT if limit is None else limit)
    return image


def _decoded(image: Image.Image) -> Image.Image:
    """Return an opened picture as RGB, turned upright."""
    image.load()
    return _upright(_rgb(image), image)


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
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
    return picture_of(_read(path), str(path), preprocessing, scaled=scaled, decode=decode)


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
    with _damage_as_picture_error(data, name):
        image = _opened(data, name, limit)
        large = image.width * image.height > LARGE
        if scaled:
            # libjpeg's scaling in the frequency domain; Pillow ignores it for other formats.
            rate = preprocessing.side * SCALED_SIDES / min(image.size)
            image.draft(None, (math.ceil(image.width * rate), math.ceil(image.height * rate)))
        with _large_turn if large else contextlib.nullcontext():
            pixels = decode(data, image) if decode else None
            return square(_decoded(image) if pixels is None else _upright(pixels, image), preprocessing)


def _read(path: Path) -> bytes:
    """Return the bytes of a regular file of at most FILE_LIMIT bytes; a pipe or a device could be without end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path} is not a file but a folder, pipe or device; give a picture file")
        if status.st_size > FILE_LIMIT:
            raise PictureError(f"{path} has {status.st_size:,} bytes, the limit is {FILE_LIMIT:,}; make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror or error}; replace it or leave it out") from None


def find_pictures(paths: list[Path], suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yield the files named, and the pictures under the folders named, each folder walked in sorted order.

    A file is yielded whatever its suffix; in a folder those of `suffixes` count, and hidden ones do not. A folder
    that links lead to more than once is walked once. Raises InputError when a path is missing or a folder holds
    no picture.
    """
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(
                f"{path} cannot be opened: {error.strerror or error}; give a picture or a folder of pictures"
            ) from None
        if not stat.S_ISDIR(status.st_mode):
            yield path
            continue
        found = False
        for file in _walk(path, suffixes):
            found = True
            yield file
        if not found:
            raise InputError(f"{path} holds no pictures ({', '.join(suffixes)}); give a folder that does")


def _walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files of some suffixes under `folder`, depth first, names in sorted order, each real folder once.

    Of a folder only the names are held, and of those below it the ones that lead to the present place.
    """
    seen: set[tuple[int, int]] = set()
    above = [(folder, _names(folder, seen))]
    while above:
        parent, left = above[-1]
        if not left:
            above.pop()
            continue
        entry = parent / left.pop()
        try:
            below = entry.is_dir()
        except OSError as error:
            raise _unreadable(entry, error) from None
        if below:
            above.append((entry, _names(entry, seen)))
        elif entry.suffix.lower() in suffixes:
            yield entry


def _names(folder: Path, seen: set[tuple[int, int]]) -> list[str]:
    """Return the names in a folder, last first and without hidden ones; none when it has been seen already."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        return sorted((entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), reverse=True)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    """Return the error for a folder, or what stands in one, that cannot be read."""
    return InputError(f"{path} cannot be read: {error.strerror or error}; mend its permissions")
