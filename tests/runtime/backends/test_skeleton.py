"""A model read without its weights is the same model, in the same places, or is read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import ModelError
from alexnet.runtime.backends import BackendOptions, onnx_file, open_backend, skeleton
from alexnet.runtime.backends.onnx_file import read_onnx
from alexnet.runtime.backends.skeleton import read_skeleton, with_places
from tests.runtime.conftest import SIDE, colour_model, metadata

PICTURES = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(2).normal(0, 0.01, (SIDE * SIDE * 3, 30)).astype(np.float32)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A model with one matrix of 207 kB, after a tensor that stands in float_data."""
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "classes", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.1, 0.2, 0.3]),
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(np.eye(30, 3, dtype=np.float32), "classes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata().to_properties())
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    return path


def test_all_but_the_large_weights_is_kept_and_these_are_found(large: Path) -> None:
    model, places = read_skeleton(large)
    assert list(places) == ["weights"]
    place = places["weights"]
    assert large.read_bytes()[place.offset :][: place.length] == WEIGHTS.tobytes()
    whole = onnx.load(large)
    whole.graph.initializer[1].ClearField("raw_data")
    assert model == whole


def test_the_places_are_external_data_that_onnx_itself_reads(large: Path) -> None:
    data = with_places(*read_skeleton(large), large.name)
    assert len(data) < 10_000
    model = onnx.load_model_from_string(data)
    onnx.load_external_data_for_model(model, str(large.parent))
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[1]), WEIGHTS)


def test_answers_are_the_same_to_the_last_bit(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = open_backend(large, BackendOptions(name="onnxruntime-cpu")).probabilities(PICTURES)
    monkeypatch.setattr(onnx_file, "read_skeleton", lambda path: 1 / 0)
    assert not read_onnx(large).places
    parsed = open_backend(large, BackendOptions(name="onnxruntime-cpu")).probabilities(PICTURES)
    np.testing.assert_array_equal(mapped, parsed)


def test_a_link_to_a_model_opens(large: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.onnx"
    link.symlink_to(large)
    expected = open_backend(large).probabilities(PICTURES)
    np.testing.assert_array_equal(open_backend(link).probabilities(PICTURES), expected)


def test_the_whole_model_is_read_where_it_is_needed(large: Path) -> None:
    file = read_onnx(large)
    assert not file.model.graph.initializer[1].raw_data
    assert file.whole().graph.initializer[1].raw_data == WEIGHTS.tobytes()
    assert not read_onnx(large, features=True).places


def test_small_tensors_stay(tmp_path: Path) -> None:
    model, places = read_skeleton(colour_model(tmp_path / "model.onnx"))
    assert not places
    assert model == onnx.load(tmp_path / "model.onnx")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_torn_file_is_refused(large: Path, share: float) -> None:
    data = large.read_bytes()
    large.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        read_onnx(large)


def test_a_number_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + b"\xff" * 40)
    with pytest.raises(ValueError, match="without end"):
        read_skeleton(path)


def test_numbers_are_written_as_protobuf_does() -> None:
    for number in (0, 1, 127, 128, 300, 1 << 31):
        assert skeleton._varint(number) == onnx.ModelProto(ir_version=number).SerializeToString()[1:] or number == 0
