from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from alexnet.cpu_session import cpu_session
from alexnet.errors import ModelError
from alexnet.metadata import ModelMetadata
from alexnet.onnx_layers import layer_names, layer_outputs_of_model, tapped
from alexnet.pictures import Preprocessing

FACTS = ModelMetadata(
    "half", ("a", "b"), Preprocessing(4), 4, 10, "pixels", "", {}, "", "0", "conv", "plain", "fp16", {}
)


def half_model(copies: int = 10) -> onnx.ModelProto:
    """A model with float16 inside: `conv1` is each picture, `copies` times in the order [copies, N], plus its place."""
    places = np.arange(copies, dtype=np.float16).reshape(copies, 1, 1, 1, 1)
    constants = {
        "places": places,
        "shape": np.array([-1, 3, 4, 4], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pictures"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["half"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Unsqueeze", ["planes", "first"], ["one"]),
        helper.make_node("Add", ["one", "places"], ["many"]),
        helper.make_node("Reshape", ["many", "shape"], ["conv1"], name="conv1"),
        helper.make_node("Relu", ["planes"], ["stem/conv1"], name="stem/conv1"),
        helper.make_node("Relu", ["planes"], ["relu1"], name="relu1"),
        helper.make_node("Cast", ["conv1"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


PICTURE: npt.NDArray[np.uint8] = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
PLANES = PICTURE.transpose(2, 0, 1).astype(np.float32)


def test_only_tensors_of_the_layer_table_become_outputs_and_the_model_stays_as_it_is() -> None:
    model = half_model()
    before = model.SerializeToString()
    assert layer_names(model) == ["conv1", "relu1"]
    copy = tapped(model, ["conv1"])
    assert [entry.name for entry in copy.graph.output] == ["layer_output/conv1"]
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("facts", "copies", "place"),
    [
        (FACTS, 10, 4),
        (replace(FACTS, stem="shared"), 10, 8),
        (replace(FACTS, crops=1), 1, 0),
        (replace(FACTS, batch=3), 10, 4),
    ],
)
def test_the_centre_crop_of_half_precision_tensors_is_returned_in_float(
    facts: ModelMetadata, copies: int, place: int
) -> None:
    found = layer_outputs_of_model(half_model(copies), facts, PICTURE)
    assert found["conv1"].dtype == np.float32
    assert np.array_equal(found["conv1"], PLANES + place)


def test_a_tensor_without_an_entry_for_each_crop_is_left_out() -> None:
    assert list(layer_outputs_of_model(half_model(), FACTS, PICTURE)) == ["conv1"]


def test_a_model_that_onnxruntime_refuses_is_a_model_error() -> None:
    model = half_model()
    model.graph.node[4].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="refuses the model"):
        cpu_session(model)
