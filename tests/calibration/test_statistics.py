from __future__ import annotations

import numpy as np
import pytest

from alexnet.calibration.statistics import BINS, Histogram, batches
from alexnet.calibration.thresholds import METHODS, rounded, threshold
from alexnet.errors import ModelError


def histogram(*parts: np.ndarray) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part.astype(np.float32))
    return found


def test_a_histogram_in_parts_is_that_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=(20, 1000)) * np.geomspace(0.01, 50, 20)[:, None]
    parts, whole = histogram(*values), histogram(values)
    assert parts.top == whole.top
    assert parts.largest == whole.largest == np.abs(values.astype(np.float32)).max()
    assert parts.counts.sum() == whole.counts.sum() == values.size
    # Adding up pairs of bins loses nothing: a value's bin at the last range is the same either way.
    assert np.array_equal(parts.counts, whole.counts)


def test_a_histogram_takes_the_same_memory_whatever_it_saw() -> None:
    found = histogram(np.array([0.001]), np.full(100_000, 3.0), np.array([1e6]))
    assert found.counts.shape == (BINS,)
    assert found.top == 2.0**20


def test_zeros_are_counted_and_nan_is_refused() -> None:
    found = histogram(np.zeros(10), np.array([2.0]), np.zeros(5))
    assert found.counts[0] == 15
    assert threshold(histogram(np.zeros(4)), "entropy", "int8") == 1.0
    with pytest.raises(ModelError, match="NaN or infinite"):
        histogram(np.array([np.nan]))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_what_is_uniform(method: str) -> None:
    found = histogram(np.random.default_rng(0).uniform(-3, 3, 200_000))
    assert threshold(found, method, "int8") == pytest.approx(3.0, rel=0.05)  # type: ignore[arg-type]


def test_the_methods_differ_on_an_outlier() -> None:
    values = np.append(np.random.default_rng(0).normal(size=200_000), 100.0)
    found = histogram(values)
    limits = {method: threshold(found, method, "int8") for method in METHODS}
    assert limits["minmax"] == 100.0
    assert limits["percentile"] == pytest.approx(3.9, rel=0.1)
    assert limits["entropy"] < 60.0
    # One value in 200,000 is worth its square: clipping it must not cost more than the others gain.
    assert limits["mse"] <= 100.0


def test_the_smallest_error_is_the_smallest() -> None:
    values = np.random.default_rng(1).laplace(size=50_000)
    limit = threshold(histogram(values), "mse", "int8")

    def error(at: float) -> float:
        return float(((values - rounded(values, at / 127.0, "int8")) ** 2).sum())

    assert error(limit) <= 1.02 * min(error(at) for at in np.linspace(1.0, np.abs(values).max(), 50))


def test_fp8_is_rounded_to_three_bits_and_clipped() -> None:
    values = np.array([1.0, 1.05, 1.07, 448.0, 1000.0, -1000.0])
    assert rounded(values, 1.0, "fp8").tolist() == [1.0, 1.0, 1.125, 448.0, 448.0, -448.0]
    assert rounded(np.array([0.4, 0.6, 300.0]), 1.0, "int8").tolist() == [0.0, 1.0, 127.0]


def test_a_fixed_batch_is_filled_up() -> None:
    class Facts:
        batch = 3

    assert batches([5, 6, 7, 8], Facts()) == [[5, 6, 7], [8, 8, 8]]  # type: ignore[arg-type]
