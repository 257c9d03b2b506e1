"""The forms of an exported graph: one crop, float planes, a fixed batch, ensembles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from alexnet.errors import ModelError
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.train.evaluate import centre_probabilities, ten_crop_probabilities
from tests.export.conftest import SIDE, TINY, random_source

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def answer(model: onnx.ModelProto, pictures: npt.NDArray[np.generic]) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Floats = session.run(["probabilities"], {"pictures": pictures})[0]
    return result


def planes(pictures: Pixels) -> Floats:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)


def test_one_crop_is_the_centre_one(tiny_source: Source, pictures: Pixels) -> None:
    model = onnx_model([tiny_source.numbers()], ExportOptions(crops="one"))
    (expected,) = centre_probabilities(tiny_source.network, pictures, tiny_source.mean)
    assert np.abs(answer(model, pictures) - expected.numpy()).max() < 1e-5
    assert (
        np.abs(answer(model, pictures) - answer(onnx_model([tiny_source.numbers()], ExportOptions()), pictures)).max()
        > 1e-3
    )
    assert not [node for node in model.graph.node if node.op_type in ("Reshape", "ReduceMean")]


@pytest.mark.parametrize("stem", ["plain", "shared", "deep"])
def test_float_planes_answer_as_pixels_do(tiny_source: Source, pictures: Pixels, stem: str) -> None:
    options = ExportOptions(input="float", stem=stem)  # type: ignore[arg-type]
    model = onnx_model([tiny_source.numbers()], options)
    expected = ten_crop_probabilities(tiny_source.network, pictures, tiny_source.mean)
    assert np.abs(answer(model, planes(pictures)) - expected).max() < 1e-5
    (taken,) = model.graph.input
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim] == ["N", 3, SIDE, SIDE]


@pytest.mark.parametrize("stem", ["plain", "shared", "deep"])
def test_a_fixed_batch_is_in_every_shape(tiny_source: Source, pictures: Pixels, stem: str) -> None:
    model = onnx_model([tiny_source.numbers()], ExportOptions(batch=4, stem=stem))  # type: ignore[arg-type]
    shapes = [entry.type.tensor_type.shape for entry in (*model.graph.input, *model.graph.value_info)]
    assert not [dim for shape in shapes for dim in shape.dim if dim.dim_param]
    expected = ten_crop_probabilities(tiny_source.network, pictures, tiny_source.mean)
    assert np.abs(answer(model, pictures[:4]) - expected[:4]).max() < 1e-5


@pytest.mark.parametrize("stem", ["plain", "shared", "deep"])
@pytest.mark.parametrize("crops", ["ten", "one"])
def test_an_ensemble_answers_with_the_mean(tiny_source: Source, pictures: Pixels, crops: str, stem: str) -> None:
    if crops == "one" and stem != "plain":
        pytest.skip("one crop shares no stem: see the refusal below")
    other = random_source(replace(TINY, columns=1, width=1 / 8, conv1_padding="both"), seed=5)
    options = ExportOptions(crops=crops, stem=stem)  # type: ignore[arg-type]
    single = [answer(onnx_model([source.numbers()], options), pictures) for source in (tiny_source, other)]
    model = onnx_model([tiny_source.numbers(), other.numbers()], options)
    onnx.checker.check_model(model, full_check=True)
    assert np.abs(single[0] - single[1]).max() > 0.05
    assert np.abs(answer(model, pictures) - np.mean(single, axis=0)).max() < 1e-6
    names = {node.name for node in model.graph.node}
    assert {"net1/conv3", "net2/conv3", "net1/subtract_mean", "ensemble", "to_planes"} <= names


def test_networks_that_do_not_agree_are_no_ensemble(tiny_source: Source) -> None:
    for other in (random_source(TINY, side=72), random_source(replace(TINY, classes=6))):
        with pytest.raises(ModelError, match="an ensemble's networks must agree: the first takes pictures of 80"):
            onnx_model([tiny_source.numbers(), other.numbers()], ExportOptions())


def test_one_crop_has_no_stem_to_share(tiny_source: Source) -> None:
    with pytest.raises(ModelError, match="export with --stem plain or --crops ten"):
        onnx_model([tiny_source.numbers()], ExportOptions(crops="one", stem="shared"))
