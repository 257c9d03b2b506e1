"""JPEGs decoded on the GPU by nvImageCodec, held against Pillow's pixels before they are relied on.

Pillow still reads the header, whose guards hold as everywhere (formats, pixel limit, orientation), and resizes: only
the decoding moves. The first pictures are decoded by both; past the bound that scaled decoding is held to, or where
nvImageCodec fails, Pillow goes on alone, which is said. nvImageCodec API: CodeStream, Decoder, DecodeParams, ColorSpec.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from alexnet.errors import DeviceError, missing_package
from alexnet.gpu import find_gpus
from alexnet.pictures import SCALED_BOUND, SCALED_MEAN_BOUND, Pixels, Preprocessing, load_picture

# JPEGs that are decoded by both before the GPU's pixels are used alone.
COMPARED = 8

Say = Callable[[str], None]


class GpuDecoder:
    """Loads pictures as `alexnet.pictures.load_picture` does, decoding JPEGs on one GPU. Threads may share it."""

    def __init__(self, number: int, say: Say) -> None:
        """Open the decoder of GPU `number`; DeviceError without a GPU, MissingPackageError without nvImageCodec."""
        if not (search := find_gpus()).gpus:
            raise DeviceError(f"--gpu-decoding needs an NVIDIA GPU, and {search.reason}; leave it out")
        try:
            self.codec: Any = importlib.import_module("nvidia.nvimgcodec")
        except ImportError:
            raise missing_package("nvidia-nvimgcodec-cu13", "gpu-decoding", "--gpu-decoding") from None
        self.decoder: Any = self.codec.Decoder(device_id=number)
        self.colours: Any = self.codec.DecodeParams(color_spec=self.codec.ColorSpec.SRGB, apply_exif_orientation=False)
        self.say = say
        self.left, self.lock, self.works = COMPARED, Lock(), True

    def load(self, path: Path, preprocessing: Preprocessing) -> Pixels:
        """Return the picture in a file as uint8 [S, S, 3]; PictureError when it cannot be read or decoded."""
        if not self.works:
            return load_picture(path, preprocessing)
        found = load_picture(path, preprocessing, decode=self._decoded)
        if self.left:
            self._compare(found, load_picture(path, preprocessing), path)
        # What a comparison refused is not used, nor what other threads decoded meanwhile.
        return found if self.works else load_picture(path, preprocessing)

    def _decoded(self, data: bytes, image: Image.Image) -> Image.Image | None:
        """Return a colour JPEG of the size in its header as RGB, None for what Pillow is to decode."""
        if image.format != "JPEG" or image.mode != "RGB":
            return None
        try:
            with self.lock:
                decoded = self.decoder.decode(self.codec.CodeStream(data), params=self.colours)
            pixels = None if decoded is None else np.asarray(decoded.cpu())
        except Exception as error:
            # nvImageCodec raises RuntimeError, and what CUDA raises.
            self._give_up(f"nvImageCodec failed: {' '.join(str(error).split())}")
            return None
        if pixels is None or pixels.shape != (image.height, image.width, 3) or pixels.dtype != np.uint8:
            return None
        return Image.fromarray(pixels)

    def _compare(self, found: Pixels, reference: Pixels, path: Path) -> None:
        """Hold one picture against Pillow's; past either bound the GPU is not used any more."""
        apart = np.abs(found.astype(np.int16) - reference)
        largest, mean = int(apart.max()), float(abs(found.mean() - reference.mean()))
        if largest > SCALED_BOUND or mean > SCALED_MEAN_BOUND:
            self._give_up(
                f"{path} decoded on the GPU differs from Pillow's pixels by {largest}, in the mean by {mean:.1f}, "
                f"expected at most {SCALED_BOUND} and {SCALED_MEAN_BOUND:g}"
            )
        with self.lock:
            self.left -= 1

    def _give_up(self, reason: str) -> None:
        """Leave decoding to Pillow from now on."""
        if self.works:
            self.works = False
            self.say(f"warning: {reason}; going on with Pillow")
