"""From a tensor's histogram to its threshold: the absolute value that the largest quantised number stands for."""

from __future__ import annotations

from typing import Literal, get_args

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnxruntime.quantization.calibrate import HistogramCollector

from alexnet.calibration.statistics import BINS, Histogram

Method = Literal["minmax", "entropy", "percentile", "mse"]
Format = Literal["int8", "fp8"]
METHODS, FORMATS = get_args(Method), get_args(Format)
# The largest value of each format: int8 symmetric about 0, and OCP's E4M3 without infinities.
LARGEST: dict[Format, float] = {"int8": 127.0, "fp8": 448.0}
PERCENTILE = 99.99
# Bins of half a histogram, and levels, for the divergence of the entropy method, whose time grows with their square.
ENTROPY_BINS, ENTROPY_LEVELS = 512, 255
# Shares of the largest value that the mse method tries.
SHARES = np.linspace(0.1, 1.0, 181)

Doubles = npt.NDArray[np.float64]


def threshold(histogram: Histogram, method: Method, form: Format) -> float:
    """Return the threshold of a tensor; 1 for one that was always 0, of which any scale keeps everything.

    `minmax` takes the largest value, `percentile` what 99.99 % of the values are within, `entropy` ONNX Runtime's
    smallest Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", 2017), and `mse` the smallest mean
    squared error of the values rounded in the format itself.
    """
    if not histogram.largest:
        return 1.0
    match method:
        case "minmax":
            found = histogram.largest
        case "percentile":
            found = _percentile(histogram)
        case "entropy":
            found = _entropy(histogram)
        case "mse":
            found = _smallest_error(histogram, form)
    return min(found, histogram.largest)


def _percentile(histogram: Histogram) -> float:
    """Return the upper edge of the bin below which PERCENTILE of the values are."""
    below = np.cumsum(histogram.counts)
    place = int(np.searchsorted(below, below[-1] * PERCENTILE / 100.0))
    return (place + 1) * histogram.top / BINS


def _entropy(histogram: Histogram) -> float:
    """Return ONNX Runtime's entropy threshold of the values and their mirror image, which makes it symmetric."""
    half = histogram.counts.reshape(ENTROPY_BINS, -1).sum(axis=1)
    counts = np.concatenate([half[::-1], half])
    edges = np.linspace(-histogram.top, histogram.top, 2 * ENTROPY_BINS + 1, dtype=np.float32)
    largest = np.float32(histogram.largest)
    collector = HistogramCollector("entropy", True, 2 * ENTROPY_BINS, ENTROPY_LEVELS, PERCENTILE, "same")
    found = collector.get_entropy_threshold((counts, edges, -largest, largest, largest), ENTROPY_LEVELS)
    return float(found[1])


def _smallest_error(histogram: Histogram, form: Format) -> float:
    """Return the candidate whose rounding and clipping lose the least, in squares."""
    kept = histogram.counts > 0
    values, counts = histogram.centres[kept], histogram.counts[kept]
    candidates = SHARES * histogram.largest
    errors = [
        float((counts * (values - rounded(values, limit / LARGEST[form], form)) ** 2).sum()) for limit in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


def rounded(values: Doubles, scale: float | Doubles, form: Format) -> Doubles:
    """Return values as a format gives them back: divided by the scale, clipped, rounded to nearest, and multiplied."""
    largest = LARGEST[form]
    steps = np.clip(values / scale, -largest, largest)
    whole = np.rint(steps) if form == "int8" else steps.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    result: Doubles = whole * scale
    return result
