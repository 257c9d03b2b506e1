from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from alexnet.errors import ModelError
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.recipe import NetworkRecipe
from alexnet.train.evaluate import ten_crop_probabilities
from alexnet.train.network import numpy_weights
from tests.export.conftest import SIDE, TINY, random_pictures, random_source

# The last map has one position, and what leaves the layer is not the pooling.
POOL_BEFORE_RELU = (("relu", "lrn", "pool"), ("relu", "lrn", "pool"), ("relu",), ("relu",), ("pool", "relu"))
REPEATED = (("relu", "lrn", "lrn", "pool"), ("relu", "lrn", "pool"), ("relu", "relu"), ("relu",), ("relu", "pool"))
STEPS_2012 = (("lrn", "pool", "relu"), ("relu", "lrn", "map_norm", "pool"), ("relu",), ("relu",), ("relu", "pool"))


def build(source: Source, opset: int = 18) -> onnx.ModelProto:
    return onnx_model([source.numbers()], ExportOptions(opset=opset))


def run(model: onnx.ModelProto, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: npt.NDArray[np.float32] = session.run(["probabilities"], {"pictures": pictures})[0]
    return answer


@pytest.mark.parametrize(
    "network",
    [
        TINY,
        NetworkRecipe(width=1 / 16, crop=64, classes=7, columns=1),
        NetworkRecipe(width=1 / 16, crop=67, classes=7, conv1_padding="none"),
        NetworkRecipe(width=1 / 16, crop=64, classes=7, conv1_padding="both"),
        NetworkRecipe(width=1 / 16, crop=64, classes=7, lrn_scope="layer", lrn_size=3, lrn_beta=0.5, lrn_k=1.0),
        NetworkRecipe(width=1 / 16, crop=64, classes=7, steps=STEPS_2012, lrn_alpha=2e-5),  # type: ignore[arg-type]
        NetworkRecipe(width=1 / 16, crop=64, classes=7, dropout=0.3, hidden=(512,)),
        NetworkRecipe(width=1 / 16, crop=64, classes=7, dropout=0.0),
        NetworkRecipe(width=1 / 16, crop=72, classes=7),
        NetworkRecipe(width=1 / 16, crop=96, classes=7, pool_size=2),
        NetworkRecipe(width=1 / 16, crop=64, classes=7, steps=POOL_BEFORE_RELU),  # type: ignore[arg-type]
        NetworkRecipe(width=1 / 16, crop=64, classes=7, steps=REPEATED),  # type: ignore[arg-type]
        NetworkRecipe(width=1 / 16, crop=64, classes=7, hidden=()),
    ],
    ids=[
        "paper",
        "one column",
        "227",
        "both",
        "layer lrn",
        "2012",
        "one hidden",
        "no dropout",
        "no margin",
        "pool 2",
        "pool before relu",
        "repeated steps",
        "none hidden",
    ],
)
def test_the_graph_answers_as_the_torch_network_does(network: NetworkRecipe) -> None:
    source = random_source(network)
    pictures = random_pictures(5, source.mean.shape[0])
    expected = ten_crop_probabilities(source.network, pictures, source.mean)
    assert expected.std() > 0.02  # far from equal, so that a wrong graph shows
    assert np.abs(run(build(source), pictures) - expected).max() < 1e-5


def test_a_person_can_read_the_graph(tiny_source: Source) -> None:
    model = build(tiny_source)
    names = [node.name for node in model.graph.node]
    for name in (
        "conv1",
        "relu1",
        "lrn1",
        "pool1",
        "conv2",
        "lrn2",
        "conv3",
        "conv5",
        "pool5",
        "fc6",
        "fc8",
        "softmax",
    ):
        assert name in names
    assert len(names) == len(set(names))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["Sub"], kinds["Flatten"], kinds["Reshape"], kinds["Softmax"], kinds["Slice"]) == (1, 1, 1, 1, 6)


def test_input_output_batch_and_opset(tiny_source: Source) -> None:
    model = build(tiny_source)
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, taken.type.tensor_type.elem_type) == ("pictures", onnx.TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim] == ["N", SIDE, SIDE, 3]
    assert [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] == ["N", 7]
    assert model.opset_import[0].version == 18
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("opset", [19, 21, 23])
def test_other_opsets_answer_alike(tiny_source: Source, pictures: npt.NDArray[np.uint8], opset: int) -> None:
    assert np.abs(run(build(tiny_source, opset), pictures) - run(build(tiny_source), pictures)).max() < 1e-6


@pytest.mark.parametrize("opset", [7, 17, 99])
def test_an_opset_that_is_not_offered_is_refused(tiny_source: Source, opset: int) -> None:
    with pytest.raises(ModelError, match=f"opset {opset} is not offered for fp32, expected 18 to 23"):
        build(tiny_source, opset)


def test_dropouts_factor_stands_in_the_weights_that_follow(tiny_source: Source) -> None:
    stored = {entry.name: numpy_helper.to_array(entry) for entry in build(tiny_source).graph.initializer}
    trained = numpy_weights(tiny_source.network)
    assert np.array_equal(stored["fc6.weight"], trained["fc6.weight"])
    assert np.array_equal(stored["fc7.weight"], trained["fc7.weight"] * np.float32(0.5))
    assert np.array_equal(stored["fc8.weight"], trained["fc8.weight"] * np.float32(0.5))
    assert np.array_equal(stored["fc8.bias"], trained["fc8.bias"])


def test_the_divisor_of_the_pixels_stands_in_conv1(tiny_source: Source, pictures: npt.NDArray[np.uint8]) -> None:
    model = onnx_model([replace(tiny_source.numbers(), divisor=1.1)], ExportOptions())
    expected = ten_crop_probabilities(tiny_source.network, pictures, tiny_source.mean, divisor=1.1)
    assert np.abs(run(model, pictures) - expected).max() < 1e-5
    assert np.abs(run(build(tiny_source), pictures) - expected).max() > 1e-4
