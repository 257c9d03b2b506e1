"""Faults planted in a model, each with the layer where a comparison has to find it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Floats = npt.NDArray[np.float32]


def _change(model: onnx.ModelProto, name: str, change: Callable[[Floats], Floats]) -> None:
    (entry,) = (entry for entry in model.graph.initializer if entry.name == name)
    changed = np.ascontiguousarray(change(numpy_helper.to_array(entry)))
    entry.CopyFrom(numpy_helper.from_array(changed, name))


def alpha_not_scaled(model: onnx.ModelProto) -> None:
    _change(model, "lrn1/alpha_root", lambda value: value * np.float32(5**0.5))


def mean_mirrored(model: onnx.ModelProto) -> None:
    def mirror(value: Floats) -> Floats:
        return value[:, ::-1] if value.shape[-1] == 3 else value[..., ::-1]

    _change(model, "mean_image", mirror)


def columns_swapped(model: onnx.ModelProto) -> None:
    _change(model, "conv2.weight", lambda value: np.concatenate(np.split(value, 2)[::-1]))


def dropout_forgotten(model: onnx.ModelProto) -> None:
    _change(model, "fc7.weight", lambda value: value * np.float32(2))


FAULTS = [(alpha_not_scaled, "lrn1"), (mean_mirrored, "crops"), (columns_swapped, "conv2"), (dropout_forgotten, "fc7")]
