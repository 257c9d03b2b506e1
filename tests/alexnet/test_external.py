from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import InputError, ModelError
from alexnet.external import check_external_data, external_tensors, load_model


def model_with_weights_beside(folder: Path) -> Path:
    """Write a model whose one weight stands in weights.data beside it."""
    weight = np.arange(512, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add")],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [512])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    return path


def moved(path: Path, location: str) -> onnx.ModelProto:
    """Let the model say that its weight is at another place."""
    model = load_model(path)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())
    return model


def test_weights_beside_the_model_are_found(tmp_path: Path) -> None:
    path = model_with_weights_beside(tmp_path)
    assert check_external_data(load_model(path), path) == [tmp_path / "weights.data"]
    assert not load_model(path).graph.initializer[0].raw_data


@pytest.mark.parametrize(
    "location", ["../weights.data", "sub/weights.data", "/etc/passwd", "", "..", ".", "./weights.data"]
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    path = model_with_weights_beside(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.data").write_bytes((tmp_path / "weights.data").read_bytes())
    (tmp_path.parent / "weights.data").write_bytes((tmp_path / "weights.data").read_bytes())
    with pytest.raises(ModelError, match=r"expected a file beside it|says wrongly where w is"):
        check_external_data(moved(path, location), path)


def test_a_link_a_missing_and_a_short_file_are_refused(tmp_path: Path) -> None:
    path = model_with_weights_beside(tmp_path)
    data = tmp_path / "weights.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:-4])
    with pytest.raises(ModelError, match=r"has 2044 bytes, w of .* ends at 2048; copy it again whole"):
        check_external_data(load_model(path), path)
    data.unlink()
    with pytest.raises(ModelError, match="which is not there; put the file that was exported with it beside it"):
        check_external_data(load_model(path), path)
    (tmp_path / "real.data").write_bytes(whole)
    data.symlink_to(tmp_path / "real.data")
    with pytest.raises(ModelError, match="which is a link"):
        check_external_data(load_model(path), path)


def test_values_of_a_node_in_another_file_are_refused(tmp_path: Path) -> None:
    path = model_with_weights_beside(tmp_path)
    model = load_model(path)
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(4, np.float32), "c"))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key="location", value="weights.data")
    model.graph.node.append(constant)
    assert len(external_tensors(model)) == 2
    with pytest.raises(ModelError, match="keeps more than its weights in other files"):
        check_external_data(model, path)


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="is a folder, not a model"):
        load_model(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="it has no bytes"):
        load_model(tmp_path / "empty.onnx")
    (tmp_path / "text.onnx").write_text("this is no protobuf")
    with pytest.raises(ModelError, match="is not an ONNX model"):
        load_model(tmp_path / "text.onnx")
