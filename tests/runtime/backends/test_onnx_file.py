"""The forms of a model: float pictures, a fixed batch, the last hidden layer; both runtimes answer alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import ModelError
from alexnet.runtime.backends import BackendOptions, FeatureBackend, OutOfMemory, open_backend
from alexnet.runtime.backends.onnx_file import OnnxBackend, read_onnx
from tests.runtime.conftest import LABELS, SIDE, colour_model, expected, metadata

BACKENDS = ("onnxruntime-cpu", "openvino-cpu")
PICTURES = np.random.default_rng(3).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)


def changed(path: Path, change: Any) -> Path:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def float_planes(model: onnx.ModelProto) -> None:
    del model.graph.node[0]
    model.graph.node[0].input[0] = "pictures"
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["N", 3, SIDE, SIDE]))


def four_at_once(model: onnx.ModelProto) -> None:
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].dim_value = 4


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("facts", "change"), [({"input": "float"}, float_planes), ({"batch": 4}, four_at_once), ({}, lambda model: None)]
)
def test_every_form_answers_the_same(tmp_path: Path, name: str, facts: dict[str, Any], change: Any) -> None:
    if name == "openvino-cpu":
        pytest.importorskip("openvino")
    path = changed(colour_model(tmp_path / "model.onnx", metadata(**facts)), change)
    backend = open_backend(path, BackendOptions(name=name, threads=1))
    for number in (1, 3, 4, 7):
        found = backend.probabilities(PICTURES[:number])
        assert np.abs(found - expected(PICTURES[:number])).max() < 1e-6
    assert backend.largest_batch == facts.get("batch")
    assert (backend.name, backend.device, backend.precision) == (name, "CPU", "fp32")
    backend.close()


@pytest.mark.parametrize(
    ("facts", "change", "words"),
    [
        ({"batch": 3}, four_at_once, r"uint8 \[4, 24, 24, 3\].*expected pictures uint8 \[3, 24, 24, 3\]"),
        ({}, four_at_once, r"expected pictures uint8 \[N, 24, 24, 3\]"),
        ({"input": "float"}, lambda model: None, r"expected pictures float \[N, 3, 24, 24\]"),
        ({}, float_planes, r"pictures float \[N, 3, 24, 24\].*expected pictures uint8"),
    ],
)
def test_the_form_must_be_that_of_the_metadata(tmp_path: Path, facts: dict[str, Any], change: Any, words: str) -> None:
    path = changed(colour_model(tmp_path / "model.onnx", metadata(**facts)), change)
    with pytest.raises(ModelError, match=words):
        read_onnx(path)


def ten_crops_of_a_matrix(model: onnx.ModelProto) -> None:
    """Ten crops that are the whole picture, each brighter than the last, and a matrix that changes nothing."""
    graph = model.graph
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(10, 1, 1), "bright"),
            numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight"),
            numpy_helper.from_array(np.array([-1, 3], dtype=np.int64), "flat"),
            numpy_helper.from_array(np.array([10, -1, 3], dtype=np.int64), "by_crop"),
            numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        ]
    )
    kept = list(graph.node[:3])
    nodes = [
        helper.make_node("Add", ["logits", "bright"], ["crops"]),
        helper.make_node("Reshape", ["crops", "flat"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "weight"], ["classes"], name="fc8", transB=1),
        helper.make_node("Softmax", ["classes"], ["each"], axis=1),
        helper.make_node("Reshape", ["each", "by_crop"], ["shaped"]),
        helper.make_node("ReduceMean", ["shaped", "first"], ["probabilities"], keepdims=0),
    ]
    del graph.node[:]
    graph.node.extend([*kept, *nodes])


@pytest.mark.parametrize(
    "options",
    [
        BackendOptions(name="onnxruntime-cpu", features=True),
        BackendOptions(name="openvino-cpu", features=True),
        BackendOptions(name="openvino-cpu", features=True, hint="throughput", threads=2),
    ],
)
def test_the_last_hidden_layer_comes_by_picture_and_crop(tmp_path: Path, options: BackendOptions) -> None:
    if options.name == "openvino-cpu":
        pytest.importorskip("openvino")
    path = changed(colour_model(tmp_path / "model.onnx"), ten_crops_of_a_matrix)
    backend = open_backend(path, options)
    assert isinstance(backend, FeatureBackend)
    probabilities, features = backend.probabilities_and_features(PICTURES)
    wanted = 0.05 * PICTURES.mean((1, 2))[:, None] + np.arange(10)[None, :, None]
    assert features.shape == (7, 10, len(LABELS))
    assert np.abs(features - wanted).max() < 1e-4
    assert np.abs(probabilities - expected(PICTURES)).max() < 1e-6


def test_a_model_without_a_hidden_layer_has_no_features(model: Path) -> None:
    with pytest.raises(ModelError, match="has no hidden layer"):
        open_backend(model, BackendOptions(name="onnxruntime-cpu", features=True))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("the shapes differ"), ModelError),
    ],
)
def test_a_device_without_room_is_told_from_a_graph_that_fails(model: Path, error: Exception, kind: type) -> None:
    class Failing(OnnxBackend):
        name, device, precision, library = "failing", "CPU", "fp32", "a library"

        def run(self, fed: Any) -> Any:
            raise error

    with pytest.raises(kind):
        Failing(read_onnx(model)).probabilities(PICTURES)
