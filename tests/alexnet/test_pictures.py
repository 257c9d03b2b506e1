from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.errors import ModelError
from alexnet.pictures import (
    SCALED_BOUND,
    SCALED_MEAN_BOUND,
    Preprocessing,
    decode_picture,
    find_pictures,
    load_picture,
    square,
)
from alexnet.recipe import DataRecipe

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


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (31, 33), (32, 32), (3000, 40)])
def test_any_shape_becomes_the_square(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", size, (10, 200, 30)).save(path)
    found = load_picture(path, SIDE)
    assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)
    assert (found == (10, 200, 30)).all()


def test_the_centre_of_the_longer_side_is_kept() -> None:
    stripes = np.zeros((10, 30, 3), dtype=np.uint8)
    stripes[:, :10], stripes[:, 10:20], stripes[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for image in (Image.fromarray(stripes), Image.fromarray(np.ascontiguousarray(stripes.swapaxes(0, 1)))):
        assert (square(image, Preprocessing(10)) == (0, 255, 0)).all()


def test_shrinking_averages_instead_of_skipping() -> None:
    chequers = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = square(Image.fromarray(chequers).convert("RGB"), SIDE)
    assert largest_difference(found, np.full((32, 32, 3), 128, dtype=np.uint8)) <= 4


def test_only_the_preprocessing_done_here_is_accepted() -> None:
    assert Preprocessing.from_values(SIDE.to_values()) == SIDE
    for change in ({"side": 0}, {"filter": "nearest"}, {"resize": "warp"}, {"extra": 1}):
        with pytest.raises(ModelError, match="expects preprocessing"):
            Preprocessing.from_values({**SIDE.to_values(), **change})


def test_a_square_of_the_right_size_is_left_alone() -> None:
    assert np.array_equal(square(Image.fromarray(scene(64, 64)), Preprocessing(64)), scene(64, 64))


def test_real_photographs_fill_the_square(photos: Path) -> None:
    for path in find_pictures([photos]):
        picture = load_picture(path, Preprocessing(256))
        assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
        assert picture.std() > 10


@pytest.mark.parametrize(("side", "quality"), [(64, 75), (64, 95), (70, 90), (31, 90)])
def test_scaled_decoding_stays_within_its_bound(tmp_path: Path, side: int, quality: int) -> None:
    coarse = np.random.default_rng(side).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((820, 610), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(quality).normal(0, 5, (610, 820, 1))
    Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "a.jpg", quality=quality)
    whole = load_picture(tmp_path / "a.jpg", Preprocessing(side)).astype(np.int64)
    scaled = load_picture(tmp_path / "a.jpg", Preprocessing(side), scaled=True).astype(np.int64)
    assert (scaled != whole).any()
    assert np.abs(scaled - whole).max() <= SCALED_BOUND
    assert np.abs(scaled - whole).mean() <= SCALED_MEAN_BOUND


def test_scaled_decoding_leaves_alone_what_is_not_much_larger(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (380, 400, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    for side in (64, 200, 500):
        whole = load_picture(tmp_path / "a.jpg", Preprocessing(side))
        assert np.array_equal(load_picture(tmp_path / "a.jpg", Preprocessing(side), scaled=True), whole)


def test_scaled_decoding_of_photographs_stays_within_its_bound(photos: Path) -> None:
    for path in sorted(photos.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            for side in (16, 32, 64, 128, 256):
                whole = load_picture(path, Preprocessing(side)).astype(np.int64)
                scaled = load_picture(path, Preprocessing(side), scaled=True).astype(np.int64)
                assert np.abs(scaled - whole).max() <= SCALED_BOUND, (path, side)
                assert np.abs(scaled - whole).mean() <= SCALED_MEAN_BOUND, (path, side)


def test_a_warped_picture_keeps_its_edges_and_the_rule_is_told() -> None:
    warped = Preprocessing.of(DataRecipe(picture=32, resize="warp"))
    wide = Image.fromarray(scene(48, 96))
    assert np.array_equal(square(wide, warped), np.asarray(wide.resize((32, 32), Image.Resampling.BILINEAR)))
    assert not np.array_equal(square(wide, warped), square(wide, SIDE))
    assert Preprocessing.from_values(warped.to_values()) == warped
    assert warped.to_values() != SIDE.to_values()
    assert warped.recipe() == DataRecipe(picture=32, resize="warp")
