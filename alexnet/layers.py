"""Comparing two networks layer by layer, to find the first layer that differs.

Every tensor that has a name in the layer table is compared for one picture's centre crop. What is past its
tolerance first, in the order of computation, is where a fault is: the layers below it agree, so its inputs are
right, and what it makes of them is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.architecture import STEP_NAMES, Dropout

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerTolerance:
    """The largest difference of any value that passes, as a share of the layer's largest value.

    `crops` is for the network's input, which at most one rounding parts from the exact value, `layers` for what is
    computed from it.
    """

    crops: float
    layers: float

    def of(self, name: str) -> float:
        """Return the tolerance of a layer by its name."""
        return self.crops if name.rpartition("/")[2] == "crops" else self.layers


# By the precision of the arithmetic. Measured on a trained quickstart network and random ones up to the paper's size,
# tensors rounded as stored: crops 0, 4.3e-4 and 3.4e-3; layers 3.1e-6, 2.1e-3 and 1.5e-2. INT8 and FP8 on the trained
# one, which clip at a threshold: crops 6.4e-6, layers 0.35 and 0.14. The faults that the tests
# plant differ by 2.9e-2 (a mirrored mean, in the crops of the trained network) and 0.6 to 1.3 (in the layers).
LAYER_TOLERANCE = {
    "fp32": LayerTolerance(crops=1e-6, layers=1e-4),
    "fp16": LayerTolerance(crops=1e-3, layers=1e-2),
    "bf16": LayerTolerance(crops=8e-3, layers=5e-2),
    "int8": LayerTolerance(crops=1e-3, layers=0.5),
    "fp8": LayerTolerance(crops=1e-3, layers=0.5),
}

# What a layer's largest value counts as at least: a layer of zeros has no scale of its own.
SMALLEST_SCALE = 1e-6

_STEPS = "|".join(name for kind, name in STEP_NAMES.items() if kind is not Dropout)
_LAYER = re.compile(rf"(?:net\d+/)?(?:crops|conv\d+|fc\d+|(?:{_STEPS})\d+(?:_\d+)?)")


def is_layer(name: str) -> bool:
    """Return whether a tensor's name is one of the layer table: crops, conv1, relu1, net2/lrn1, ..."""
    return _LAYER.fullmatch(name) is not None


@dataclass(frozen=True)
class LayerDifference:
    """How far one layer's output is from the expected one.

    `scale` is the largest expected value, `largest` the largest difference, both absolute; `relative` is the one
    over the other, and `tolerance` the most it may be. Outputs of another shape, NaN and infinity differ by infinity.
    """

    name: str
    scale: float
    largest: float
    relative: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the layer is within its tolerance; NaN is not."""
        return self.relative <= self.tolerance


@dataclass(frozen=True)
class LayerComparison:
    """The layers of one crop in the order of computation.

    `lacking` are the expected layers that the other network does not have as tensors of its own: those below a
    shared stem, for one.
    """

    rows: tuple[LayerDifference, ...]
    lacking: tuple[str, ...]
    tolerance: LayerTolerance

    @property
    def first(self) -> LayerDifference | None:
        """The first layer past the tolerance, None when all hold."""
        return next((row for row in self.rows if not row.holds), None)

    def located(self) -> str:
        """Return one clause that says where two networks part."""
        if not self.rows:
            return "no layer could be compared"
        if self.first is None:
            return (
                f"all {len(self.rows)} layers of the centre crop agree, so the fault is in another crop "
                "or in what follows the last layer"
            )
        return (
            f"the first layer that differs is {self.first.name}, by {self.first.relative:.2g} of its largest value, "
            f"expected at most {self.first.tolerance:g}"
        )

    def table(self) -> str:
        """Return the layers as aligned text, the first that differs marked."""
        width = max([10, *(len(row.name) for row in self.rows)])
        lines = [f"  {'layer':<{width}}  largest value  largest difference  relative  tolerance"]
        for row in self.rows:
            mark = "   <- the first that differs" if row is self.first else ""
            figures = f"{row.scale:13.4g}  {row.largest:18.2e}  {row.relative:.2e}  {row.tolerance:9g}"
            lines.append(f"  {row.name:<{width}}  {figures}{mark}")
        if self.lacking:
            lines.append(f"  not among the other's tensors: {', '.join(self.lacking)}")
        return "\n".join(lines)

    def to_values(self) -> dict[str, Any]:
        """Return plain JSON values: every layer's relative difference by name, and the first past the tolerance."""
        return {
            "tolerance": {"crops": self.tolerance.crops, "layers": self.tolerance.layers},
            "relative": {row.name: row.relative for row in self.rows},
            "lacking": list(self.lacking),
            "first": None if self.first is None else self.first.name,
        }


def compare_layers(
    expected: Mapping[str, Floats], found: Mapping[str, Floats], tolerance: LayerTolerance
) -> LayerComparison:
    """Return the comparison of the layers in `expected`, in its order, with those of the same name in `found`."""
    shared = [name for name in expected if name in found]
    rows = tuple(_difference(name, expected[name], found[name], tolerance.of(name)) for name in shared)
    return LayerComparison(rows, tuple(name for name in expected if name not in found), tolerance)


def _difference(name: str, expected: Floats, found: Floats, tolerance: float) -> LayerDifference:
    """Return how far one layer is from the expected one."""
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    scale = max(float(np.abs(wide).max(initial=0.0)), SMALLEST_SCALE)
    if wide.shape != other.shape or not (np.isfinite(wide).all() and np.isfinite(other).all()):
        return LayerDifference(name, scale, np.inf, np.inf, tolerance)
    largest = float(np.abs(wide - other).max(initial=0.0))
    return LayerDifference(name, scale, largest, largest / scale, tolerance)
