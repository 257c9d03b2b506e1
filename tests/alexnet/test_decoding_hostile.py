"""Pictures that are none, or that would cost more than they are worth."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet import decoding
from alexnet.decoding import decode_picture
from alexnet.errors import PictureError
from alexnet.pictures import load_picture, square
from tests.alexnet.scenes import JPEG, RGB, SIDE, encoded, pixels, scene

# pytest sets filters of its own, under which Pillow's warnings would be listed after the tests.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def png(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    """A PNG in RGB with a header and rows that need not fit each other."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_rgb() -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 257) for _ in range(2))
    assert pixels(png(2, 2, rows, depth=16))[0].tolist() == [[255, 0, 128], [0, 255, 1]]


REFUSED = {
    "empty": (b"", "the file is empty"),
    "text": (b"not a picture at all\n", "it is text"),
    "gif": (encoded(RGB, "GIF"), "it is a GIF"),
    "pdf": (encoded(RGB, "PDF"), "it is a PDF"),
    "avif or other bytes": (b"\x00\x00\x00\x1cftypavif" + bytes(30), "its first bytes are 00 00 00 1c"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "truncated png": (encoded(RGB, "PNG")[:-200], "truncated or damaged"),
    "truncated webp": (encoded(RGB, "WEBP")[:-50], "picture"),
    "truncated tiff": (encoded(RGB, "TIFF")[:-200], "truncated or damaged"),
    "more pixels than the limit": (
        png(10_001, 10_000, b""),
        "10001 x 10000 = 100,010,000 pixels, the limit is 100,000,000",
    ),
    "decompression bomb": (png(60_000, 60_000, b""), "far more than 100,000,000 pixels"),
    "no pixels": (png(0, 10, b""), "picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_by_name_and_reason(name: str, tmp_path: Path) -> None:
    data, reason = REFUSED[name]
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    with pytest.raises(PictureError) as caught:
        load_picture(path, SIDE)
    assert caught.value.message.startswith(f"{path} ")
    assert reason in caught.value.message


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 48 * 72)
    assert pixels(JPEG).shape == (48, 72, 3)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 48 * 72 - 1)
    with pytest.raises(PictureError, match="the limit is 3,455"):
        decode_picture(JPEG, "picture")


SOUND = [
    JPEG,
    encoded(RGB, "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    encoded(RGB, "PNG"),
    encoded(RGB.quantize(16), "PNG", transparency=3),
    encoded(RGB, "WEBP"),
    encoded(RGB, "BMP"),
    encoded(RGB, "TIFF"),
    encoded(Image.fromarray(scene()[:, :, 0].astype(np.float32)), "TIFF"),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound picture with bytes changed, cut out, put in or cut off."""
    data = bytearray(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, max(0, min(len(data), 400) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case 2:
                del data[place : place + draw(st.integers(1, 20))]
            case _:
                del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@given(data=damaged())
@settings(max_examples=400, deadline=None)
def test_damage_ends_in_a_picture_or_a_picture_error(data: bytes) -> None:
    try:
        image = decode_picture(data, "picture")
    except PictureError as error:
        assert error.message.startswith("picture ")
    else:
        assert square(image, SIDE).shape == (32, 32, 3)


@given(data=st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PictureError):
        decode_picture(data, "picture")


def test_decoding_in_threads_leaves_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [decode_picture(JPEG, "a") for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
