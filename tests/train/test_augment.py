from __future__ import annotations

import numpy as np
import pytest

from alexnet.recipe import AugmentRecipe
from alexnet.train.augment import augment_batch, draws
from alexnet.train.data.statistics import Statistics, measure_statistics

PICTURES = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
STATISTICS = measure_statistics(PICTURES, "pixel")
PLAIN = AugmentRecipe(crops=False, mirrors=False, colour=0.0)


def test_without_augmentation_the_centre_crop_less_the_mean() -> None:
    views = augment_batch(PICTURES, STATISTICS, PLAIN, 8, draws(0, 1))
    assert np.array_equal(views, PICTURES[:, 2:10, 2:10].astype(np.float32) - STATISTICS.mean[2:10, 2:10])


def test_each_view_is_a_crop_less_the_mean_of_its_own_pixels_or_that_mirrored() -> None:
    views = augment_batch(PICTURES, STATISTICS, AugmentRecipe(colour=0.0), 8, draws(0, 1))
    whole = PICTURES.astype(np.float32) - STATISTICS.mean
    places = set()
    for view, picture in zip(views, whole, strict=True):
        found = [
            (y, x, mirrored)
            for y in range(5)
            for x in range(5)
            for mirrored in (False, True)
            if np.array_equal(view[:, ::-1] if mirrored else view, picture[y : y + 8, x : x + 8])
        ]
        assert len(found) == 1
        places.add(found[0])
    assert {place[0] for place in places} == {place[1] for place in places} == set(range(5))
    assert {place[2] for place in places} == {False, True}


def test_the_colour_shift_is_one_a_picture_along_the_eigenvectors() -> None:
    many = np.zeros((4000, 4, 4, 3), dtype=np.uint8)
    values = np.array([400.0, 100.0, 25.0], dtype=np.float32)
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].astype(np.float32)
    zero = np.zeros((4, 4, 3), dtype=np.float32)
    statistics = Statistics(zero, np.eye(3, dtype=np.float32), values, vectors)
    views = augment_batch(many, statistics, AugmentRecipe(colour=0.1), 4, draws(0, 1))
    assert np.ptp(views, axis=(1, 2)).max() == 0.0
    factors = views[:, 0, 0] @ vectors
    # 0.1 times the standard deviation along each component: 2, 1 and 0.5 pixel values.
    assert factors.std(axis=0) == pytest.approx([2.0, 1.0, 0.5], rel=0.05)


def test_draws_are_fixed_by_their_place() -> None:
    first, again, other = (augment_batch(PICTURES, STATISTICS, AugmentRecipe(), 8, draws(0, 1, p)) for p in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_2012_source_divides_after_the_noise() -> None:
    plain, divided = (augment_batch(PICTURES, STATISTICS, AugmentRecipe(), 8, draws(0, 1), d) for d in (1.0, 1.1))
    assert np.allclose(divided * 1.1, plain, atol=1e-4)
