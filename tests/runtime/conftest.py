"""A small real model, made without torch: the mean colour of a picture decides its class."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack, parity_pack_beside
from alexnet.pictures import Preprocessing

SIDE = 24
LABELS = ("red", "green", "blue")
CHECKPOINT = "d" * 64


def metadata(**changes: object) -> ModelMetadata:
    values = {
        "name": "colours",
        "labels": LABELS,
        "preprocessing": Preprocessing(SIDE),
        "crop": SIDE,
        "crops": 10,
        "input": "pixels",
        "mean_sha256": "0" * 64,
        "recipe": {},
        "checkpoint_sha256": CHECKPOINT,
        "toolchain_version": "0",
        "lrn": "conv",
        "stem": "plain",
        "precision": "fp32",
        "parity": {},
    }
    return ModelMetadata(**(values | changes))  # type: ignore[arg-type]


def colour_model(path: Path, facts: ModelMetadata | None = None, gain: float = 0.05) -> Path:
    """Write a model that answers softmax(gain * mean of each channel)."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["colour"], keepdims=0),
        helper.make_node("Mul", ["colour", "gain"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [
            numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
            numpy_helper.from_array(np.array(gain, dtype=np.float32), "gain"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, (facts or metadata()).to_properties())
    onnx.save(model, path)
    return path


def expected(pictures: npt.NDArray[np.uint8], gain: float = 0.05) -> npt.NDArray[np.float32]:
    """Return in float64 what the model answers, as float32."""
    powers = np.exp(gain * pictures.astype(np.float64).mean((1, 2)))
    answer: npt.NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return answer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The colour model with its parity pack."""
    path = colour_model(tmp_path / "model.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (11, SIDE, SIDE, 3), dtype=np.uint8)
    names = [f"{place}.png" for place in range(11)]
    ParityPack(pictures, expected(pictures), names, CHECKPOINT).save(parity_pack_beside(path))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three folders of plain pictures, a colour each, of several sizes."""
    root = tmp_path / "images"
    for place, name in enumerate(LABELS):
        (root / name).mkdir(parents=True)
        for number in range(4):
            colour = [20, 20, 20]
            colour[place] = 230
            Image.new("RGB", (30 + number, 40 - number), tuple(colour)).save(root / name / f"{number}.png")
    return root


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 30), colour).save(file, "PNG")
    return file.getvalue()
