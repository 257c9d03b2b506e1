from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet.errors import InputError, ModelError, PictureError
from alexnet.pictures import FORMATS, PIXEL_LIMIT, Preprocessing, decode_picture, find_pictures, load_picture, square

RANDOM = np.random.default_rng(0)
RGB = Image.fromarray(np.kron(RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((10, 10, 1), dtype=np.uint8)))
GREY16 = Image.fromarray(np.asarray(RGB.convert("L")).astype(np.uint16) * 257)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = decode_picture(data, "picture")
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_formats_give_the_same_pixels(form: str) -> None:
    assert np.array_equal(
        decoded(encoded(RGB, form, **({"lossless": True} if form == "WEBP" else {}))), np.asarray(RGB)
    )


def test_jpeg_is_near_the_original() -> None:
    difference = decoded(encoded(RGB, "JPEG", quality=95)).astype(int) - np.asarray(RGB).astype(int)
    assert np.abs(difference).mean() < 15


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (RGB.convert("L"), "PNG"),
        (RGB.convert("L"), "JPEG"),
        (RGB.convert("1"), "PNG"),
        (RGB.convert("LA"), "PNG"),
        (RGB.convert("P"), "PNG"),
        (RGB.convert("RGBA"), "WEBP"),
        (RGB.convert("CMYK"), "JPEG"),
        (RGB.convert("CMYK"), "TIFF"),
        (RGB.convert("I"), "TIFF"),
        (RGB.convert("F"), "TIFF"),
        (RGB.convert("YCbCr"), "JPEG"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_every_mode_becomes_rgb(image: Image.Image, form: str) -> None:
    pixels = decoded(encoded(image, form))
    assert pixels.shape == (60, 80, 3)
    assert pixels.std() > 5


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    pixels = decoded(encoded(GREY16, "PNG"))
    assert np.array_equal(pixels[:, :, 0], np.asarray(RGB.convert("L")))


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (decoded(encoded(clear, "PNG")) == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert (decoded(encoded(palette, "PNG", transparency=0)) == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(RGB, "PNG", exif=exif)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    expected = RGB.transpose(Image.Transpose(undo[orientation])) if orientation in undo else RGB
    assert np.array_equal(decoded(turned), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"just some words", "it is text"),
        (encoded(RGB, "GIF"), "it is a GIF"),
        (b"%PDF-1.7\xff", "it is a PDF"),
        (b"\x00\x01\x02\xff" * 9, "its first bytes are 00 01 02 ff"),
    ],
)
def test_what_is_no_picture_is_said_to_be_what_it_is(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=rf"holiday\.jpg is not a picture in JPEG, PNG.*{reason}") as caught:
        decode_picture(data, "holiday.jpg")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_truncated_pictures_are_refused(form: str) -> None:
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (90, 90, 3), dtype=np.uint8)), form)
    with pytest.raises(PictureError, match="truncated or damaged|is not a picture"):
        decode_picture(data[: len(data) // 2], "half.jpg")


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header claims width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 60_000, 2**31 - 1])
def test_past_the_pixel_limit_nothing_is_decoded(side: int) -> None:
    with pytest.raises(PictureError, match=r"the limit is|far more than|truncated or damaged"):
        decode_picture(bomb(side, side), "bomb.png")
    assert side * side > PIXEL_LIMIT


def test_at_the_limit_the_header_is_believed() -> None:
    with pytest.raises(PictureError, match="truncated or damaged"):
        decode_picture(bomb(10_000, 10_000), "large.png")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    form=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_damaged_bytes_end_in_a_picture_error_or_a_picture(form: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(RGB, form))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    with contextlib.suppress(PictureError):
        assert decode_picture(bytes(data), "odd").mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (300, 40), (256, 256), (31, 33)])
def test_any_size_becomes_the_square(size: tuple[int, int]) -> None:
    assert square(Image.new("RGB", size, (9, 99, 199)), Preprocessing(64)).tolist() == [[[9, 99, 199]] * 64] * 64


def test_a_square_of_the_right_size_is_left_alone() -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert np.array_equal(square(image, Preprocessing(64)), np.asarray(image))


def test_the_shorter_side_is_resized_and_the_centre_kept() -> None:
    # Three bands across a wide picture: the square keeps the middle one.
    pixels = np.zeros((50, 150, 3), dtype=np.uint8)
    pixels[:, 50:100, 1] = 200
    assert np.array_equal(np.unique(square(Image.fromarray(pixels), Preprocessing(64))[:, :, 1]), [200])


def test_folders_are_walked_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.webp", "c.txt", ".hidden/x.png", "b/.x.jpg", "z/deep/er/1.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in find_pictures([tmp_path])]
    assert found == ["a.webp", "b/1.png", "b/2.JPG", "z/deep/er/1.tiff"]
    assert list(find_pictures([tmp_path / "c.txt"])) == [tmp_path / "c.txt"]


def test_a_link_to_a_folder_above_does_not_loop(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(list(find_pictures([tmp_path]))) == 1


def test_missing_paths_and_empty_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist|cannot be opened: No such file"):
        list(find_pictures([tmp_path / "absent"]))
    with pytest.raises(InputError, match="holds no pictures"):
        list(find_pictures([tmp_path]))


def test_a_picture_that_cannot_be_read_is_a_picture_error(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("folder.jpg", "absent.jpg"):
        with pytest.raises(PictureError, match="cannot be read"):
            load_picture(tmp_path / name, Preprocessing(64))
    if os.geteuid():
        (tmp_path / "secret.png").write_bytes(encoded(RGB, "PNG"))
        (tmp_path / "secret.png").chmod(0)
        with pytest.raises(PictureError, match="Permission denied"):
            load_picture(tmp_path / "secret.png", Preprocessing(64))


def test_real_photographs_grey_ones_among_them(photos: Path) -> None:
    pictures = [load_picture(path, Preprocessing(256)) for path in find_pictures([photos])]
    assert {picture.shape for picture in pictures} == {(256, 256, 3)}
    assert any((picture[:, :, 0] == picture[:, :, 1]).all() for picture in pictures)


def test_preprocessing_of_another_kind_is_refused() -> None:
    assert Preprocessing.from_values(Preprocessing(128).to_values()) == Preprocessing(128)
    with pytest.raises(ModelError, match="use the version of the toolchain that exported"):
        Preprocessing.from_values({"side": 128, "resize": "warp", "filter": "bicubic"})
