from __future__ import annotations

import io
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet import pictures
from alexnet.errors import InputError, ModelError, PictureError
from alexnet.pictures import Preprocessing, decode_picture, find_pictures, load_picture, square

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


def test_16_bit_rgb() -> None:
    rows = b"".join(b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 257) for _ in range(2))
    assert pixels(png(2, 2, rows, depth=16))[0].tolist() == [[255, 0, 128], [0, 255, 1]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 127.0, 200.0], [0, 127, 200]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-5.0, 5e5, 1e6], [0, 128, 255]),
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


def png(width: int, height: int, rows: bytes, depth: int = 8) -> bytes:
    """A PNG in RGB with a header and rows that need not fit each other."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


JPEG = encoded(RGB, "JPEG")

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
    "png of few rows": (png(400, 400, b"\0" + bytes(1200)), "truncated or damaged"),
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
    monkeypatch.setattr(pictures, "PIXEL_LIMIT", 48 * 72)
    assert pixels(JPEG).shape == (48, 72, 3)
    monkeypatch.setattr(pictures, "PIXEL_LIMIT", 48 * 72 - 1)
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


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(JPEG)
    now, most = 0, 0
    decode = pictures._decoded

    def counted(image: Image.Image) -> Image.Image:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.005)
        now -= 1
        return decode(image)

    def most_at_once() -> int:
        nonlocal most
        most = 0
        threads = [threading.Thread(target=load_picture, args=(path, SIDE)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    monkeypatch.setattr(pictures, "_decoded", counted)
    assert most_at_once() > 1
    monkeypatch.setattr(pictures, "LARGE", 100)
    assert most_at_once() == 1


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(JPEG)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match=r"picture\.jpg cannot be read: Permission denied"):
        load_picture(path, SIDE)


def test_pipes_folders_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "zero.jpg", "folder.jpg"):
        with pytest.raises(PictureError, match=f"{name} is not a file"):
            load_picture(tmp_path / name, SIDE)


def test_a_file_beyond_the_byte_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(JPEG)
    monkeypatch.setattr(pictures, "FILE_LIMIT", len(JPEG) - 1)
    with pytest.raises(PictureError, match=f"has {len(JPEG):,} bytes, the limit is {len(JPEG) - 1:,}"):
        load_picture(path, SIDE)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(JPEG)


def found(*paths: Path) -> list[str]:
    return [str(path.relative_to(paths[0])) for path in find_pictures(list(paths))]


def test_folders_are_walked_in_sorted_order(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a/2.png", "a/10.webp", "a/c/1.tif", "c.jpeg", ".hidden.jpg", ".git/x.jpg", "notes.txt")
    assert found(tmp_path) == ["a/10.webp", "a/2.png", "a/c/1.tif", "b.JPG", "c.jpeg"]


def test_names_in_any_letters(tmp_path: Path) -> None:
    names = ["new\nline.jpg", "猫 🐈.png", "Ü/é.jpg", os.fsdecode(b"\xff\xfe.jpg"), "-dash.jpg"]
    make(tmp_path, *names)
    assert sorted(found(tmp_path)) == sorted(names)


def test_a_file_named_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "picture.dat")
    assert list(find_pictures([tmp_path / "picture.dat"])) == [tmp_path / "picture.dat"]


def test_a_folder_without_pictures_and_a_missing_path(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"holds no pictures \(.bmp"):
        found(tmp_path)
    with pytest.raises(InputError, match="absent cannot be opened: No such file"):
        found(tmp_path / "absent")
    with pytest.raises(InputError, match="File name too long"):
        found(tmp_path / ("x" * 5000))


def test_links_in_circles_end(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("absent.jpg")
    assert found(tmp_path) == ["a/1.jpg", "b/2.jpg", "gone.jpg", "self.jpg"]
    for name in ("gone.jpg", "self.jpg"):
        with pytest.raises(PictureError, match=f"{name} cannot be read"):
            load_picture(tmp_path / name, SIDE)


def test_folders_linked_crosswise_are_each_walked_once(tmp_path: Path) -> None:
    for name in "abcdefgh":
        make(tmp_path, f"{name}/{name}.jpg")
        for other in "abcdefgh":
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert sorted(path.name for path in find_pictures([tmp_path])) == [f"{name}.jpg" for name in "abcdefgh"]


def test_folders_nested_deeper_than_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")  # noqa: PTH102 the path is too long to be given whole
        os.chdir("d")
    Path("deep.jpg").write_bytes(JPEG)
    os.chdir(tmp_path)
    assert [path.name for path in find_pictures([Path()])] == ["deep.jpg"]


def test_a_folder_that_cannot_be_read_is_said_before_anything_is_classified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    original = Path.iterdir

    def refuse(self: Path) -> Any:
        if self.name == "b":
            raise PermissionError(13, "Permission denied")
        return original(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="b cannot be read: Permission denied; mend its permissions"):
        found(tmp_path)
