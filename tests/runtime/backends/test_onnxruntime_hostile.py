"""ONNX files that are none, or are not what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import DeviceError, ModelError
from alexnet.runtime.backends import BackendOptions, onnxruntime, open_backend
from tests.runtime.conftest import SIDE, colour_model

PICTURES = np.zeros((3, SIDE, SIDE, 3), dtype=np.uint8)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def colours(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(colour_model(tmp_path / "sound.onnx"))


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "it has no bytes"), (b"\x08\x0a", "it has no nodes"), (b"PK\x03\x04", "is not an ONNX model")],
)
def test_what_is_no_onnx_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        open_backend(path)


def test_a_truncated_model_is_refused(tmp_path: Path, colours: onnx.ModelProto) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(colours.SerializeToString()[:-20])
    with pytest.raises(ModelError, match=r"model\.onnx is not an ONNX model|model\.onnx is an ONNX model without"):
        open_backend(path)


def test_another_tools_model_is_refused(tmp_path: Path, colours: onnx.ModelProto) -> None:
    del colours.metadata_props[:]
    with pytest.raises(ModelError, match=r"without this toolchain's metadata.*alexnet export --onnx"):
        open_backend(save(colours, tmp_path / "model.onnx"))


def external(name: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def in_a_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["aside"], value=external("aside")))


def in_a_subgraph(model: onnx.ModelProto) -> None:
    out = helper.make_tensor_value_info("inside", TensorProto.FLOAT, [])
    branch = helper.make_graph([], "branch", [], [out], [external("inside")])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(helper.make_node("If", ["always"], ["aside"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto) -> None:
    body = helper.make_node("Constant", [], ["out"], value=external("inside"))
    model.functions.append(helper.make_function("own", "Aside", [], ["out"], [body], [helper.make_opsetid("", 18)]))


def in_a_sparse_tensor(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=external("aside"), dims=[1])


@pytest.mark.parametrize("place", [in_a_constant, in_a_subgraph, in_a_function, in_a_sparse_tensor])
def test_weights_in_other_files_are_found_wherever_they_hide(
    tmp_path: Path, colours: onnx.ModelProto, place: Any
) -> None:
    place(colours)
    (tmp_path / "weights.bin").write_bytes(bytes(4))
    with pytest.raises(ModelError, match="keeps more than its weights in other files, which are not read"):
        open_backend(save(colours, tmp_path / "model.onnx"))


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def float_pictures(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def planes_first(model: onnx.ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value, dims[3].dim_value = 3, SIDE


def other_name(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "images"


def more_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1000


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3]))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (fixed_batch, r"pictures uint8 \[4, 24, 24, 3\]"),
        (float_pictures, r"pictures float \[N, 24, 24, 3\]"),
        (planes_first, r"pictures uint8 \[N, 3, 24, 24\]"),
        (other_name, r"images uint8 \[N, 24, 24, 3\]"),
        (more_classes, r"probabilities float \[N, 1000\]"),
        (second_output, r"logits float \[N, 3\]"),
    ],
)
def test_a_model_must_take_and_give_what_its_metadata_says(
    tmp_path: Path, colours: onnx.ModelProto, change: Any, found: str
) -> None:
    change(colours)
    expected = r"expected pictures uint8 \[N, 24, 24, 3\] and probabilities float \[N, 3\]"
    with pytest.raises(ModelError, match=rf"takes and gives .*{found}.*{expected}"):
        open_backend(save(colours, tmp_path / "model.onnx"))


def test_a_graph_that_fails_when_it_runs_is_a_model_error(tmp_path: Path, colours: onnx.ModelProto) -> None:
    # The new shape is right for two pictures only, which shows when others come.
    shape = numpy_helper.from_array(np.array([2, SIDE * SIDE * 3], dtype=np.int64), "two_rows")
    colours.graph.initializer.append(shape)
    colours.graph.node.append(helper.make_node("Reshape", ["floats", "two_rows"], ["rows"]))
    colours.graph.node.append(helper.make_node("ReduceMean", ["rows"], ["mean"], keepdims=0))
    colours.graph.node.append(helper.make_node("Add", ["softmax", "mean"], ["probabilities"]))
    colours.graph.node[3].output[0] = "softmax"
    backend = open_backend(save(colours, tmp_path / "model.onnx"))
    assert backend.probabilities(PICTURES[:2]).shape == (2, 3)
    with pytest.raises(ModelError, match="ONNX Runtime could not run colours"):
        backend.probabilities(PICTURES)


def test_another_provider_than_the_one_asked_for_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime.ort.InferenceSession, "get_providers", lambda self: providers)
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider.*expected CPUExecutionProvider"):
        open_backend(model)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_number_of_threads_reaches_the_session_and_they_do_not_spin(
    model: Path, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    make = onnxruntime.ort.InferenceSession

    def watch(data: bytes, options: Any, **rest: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        return make(data, options, **rest)

    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", watch)
    open_backend(model, BackendOptions(threads=threads))
    assert seen == [threads or 0]
