from __future__ import annotations

import struct
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.alexnet.scenes import RGB, encoded, largest_difference, pixels, scene

GREY = RGB.convert("L")
GREY_AS_RGB = np.asarray(GREY.convert("RGB"))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_give_every_pixel_back(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(pixels(encoded(RGB, kind, **options)), scene())


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("MPO", {})]
)
def test_lossy_formats_come_near(kind: str, options: dict[str, Any]) -> None:
    assert largest_difference(pixels(encoded(RGB, kind, quality=95, **options)), scene()) < 16


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_grey_becomes_equal_channels(kind: str) -> None:
    found = pixels(encoded(GREY, kind))
    assert np.array_equal(found[:, :, 0], found[:, :, 1])
    assert largest_difference(found, GREY_AS_RGB) < 8


def test_black_and_white_become_0_and_255() -> None:
    found = pixels(encoded(GREY.convert("1", dither=Image.Dither.NONE), "PNG"))
    assert np.array_equal(found, np.where(GREY_AS_RGB >= 128, 255, 0))


def test_a_palette_gives_its_colours() -> None:
    image = RGB.quantize(16)
    assert np.array_equal(pixels(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_a_transparent_palette_entry_is_white() -> None:
    image = RGB.quantize(16)
    found = pixels(encoded(image, "PNG", transparency=image.getpixel((0, 0))))
    expected = np.asarray(image.convert("RGB")).copy()
    expected[np.asarray(image) == image.getpixel((0, 0))] = 255
    assert np.array_equal(found, expected)


def test_transparency_is_laid_over_white() -> None:
    opaque = np.full((4, 4, 4), (200, 100, 0, 255), dtype=np.uint8)
    opaque[0, 0, 3] = 0
    opaque[0, 1, 3] = 51
    found = pixels(encoded(Image.fromarray(opaque), "PNG"))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].tolist() == [244, 224, 204]
    assert found[1, 1].tolist() == [200, 100, 0]


def test_grey_with_transparency() -> None:
    found = pixels(encoded(Image.fromarray(np.full((4, 4, 2), (100, 0), dtype=np.uint8), "LA"), "PNG"))
    assert (found == 255).all()


def test_cmyk_has_the_colours_of_rgb() -> None:
    assert largest_difference(pixels(encoded(RGB.convert("CMYK"), "JPEG", quality=95)), scene()) < 16
    assert np.array_equal(pixels(encoded(RGB.convert("CMYK"), "TIFF")), scene())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_a_channel_are_scaled_not_cut_off(kind: str) -> None:
    wide = np.array([[0, 128, 32768, 65535]], dtype=np.uint16)
    assert pixels(encoded(Image.fromarray(wide), kind))[0, :, 0].tolist() == [0, 0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 127.0, 200.0], [0, 127, 200]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-5.0, 4e5, 1e6], [0, 102, 255]),
        ([float("nan"), float("inf"), 255.0], [0, 0, 255]),
    ],
)
def test_float_files_find_their_scale(values: list[float], expected: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pixels(encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF"))
    assert found[0, :, 0].tolist() == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, kind: str) -> None:
    turned = {
        1: scene(),
        2: scene()[:, ::-1],
        3: scene()[::-1, ::-1],
        4: scene()[::-1],
        5: scene().swapaxes(0, 1),
        6: np.rot90(scene(), 1),
        7: scene().swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(scene(), -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(np.ascontiguousarray(turned)), kind, exif=exif, **options)
    assert largest_difference(pixels(data), scene()) < (16 if kind == "JPEG" else 1)


def test_a_bad_exif_tag_beside_the_orientation_does_no_harm() -> None:
    # A field whose type has a wrong value: reading the orientation works, writing such EXIF again does not.
    tag = struct.pack("<HHI4s", 0x010F, 3, 1, b"\0\0\0\0"), struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(tag) + b"\0\0\0\0"
    image = Image.fromarray(np.ascontiguousarray(np.rot90(scene(), 1)))
    assert largest_difference(pixels(encoded(image, "JPEG", quality=95, exif=exif)), scene()) < 16
