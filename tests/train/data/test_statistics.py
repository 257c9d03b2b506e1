from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alexnet.errors import InputError
from alexnet.train.data.statistics import Statistics, measure_statistics

PICTURES = np.random.default_rng(0).integers(0, 256, (37, 6, 6, 3), dtype=np.uint8)


def test_mean_image_and_covariance_are_numpys() -> None:
    found = measure_statistics(PICTURES, "pixel", block=8)
    assert np.allclose(found.mean, PICTURES.mean(axis=0), atol=1e-4)
    pixels = PICTURES.reshape(-1, 3).astype(np.float64)
    assert np.allclose(found.covariance, np.cov(pixels.T, bias=True), rtol=1e-5)


def test_eigenvectors_rebuild_the_covariance_largest_first() -> None:
    found = measure_statistics(PICTURES, "pixel")
    assert (np.diff(found.eigenvalues) <= 0).all()
    rebuilt = found.eigenvectors @ np.diag(found.eigenvalues) @ found.eigenvectors.T
    assert np.allclose(rebuilt, found.covariance, rtol=1e-4, atol=1e-2)


def test_channel_mean_is_one_value_a_channel() -> None:
    found = measure_statistics(PICTURES, "channel")
    assert found.mean.shape == (6, 6, 3)
    assert np.allclose(found.mean, PICTURES.mean(axis=(0, 1, 2)), atol=1e-4)


def test_survives_the_disk_and_refuses_damage(tmp_path: Path) -> None:
    path = tmp_path / "statistics.safetensors"
    measured = measure_statistics(PICTURES, "pixel")
    measured.save(path)
    loaded = Statistics.load(path)
    assert np.array_equal(loaded.mean, measured.mean)
    assert np.array_equal(loaded.eigenvectors, measured.eigenvectors)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="does not hold a training set's statistics"):
        Statistics.load(path)
