from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import pictures
from alexnet.errors import ModelError
from alexnet.picture_files import find_pictures
from alexnet.pictures import SCALED_BOUND, SCALED_MEAN_BOUND, Preprocessing, load_picture, square
from alexnet.recipe import DataRecipe
from tests.alexnet.scenes import JPEG, SIDE, largest_difference, scene


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


def test_large_pictures_aredecoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(JPEG)
    now, most = 0, 0
    decode = pictures.decoded

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

    monkeypatch.setattr(pictures, "decoded", counted)
    assert most_at_once() > 1
    monkeypatch.setattr(pictures, "LARGE", 100)
    assert most_at_once() == 1
