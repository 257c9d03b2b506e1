from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.calibration.layers import kept_layers, layers_of, pooled_positive, quantisable
from alexnet.calibration.mean import with_half_means
from alexnet.calibration.quantise import QuantiseOptions, quantise, quantised_weight
from alexnet.calibration.thresholds import Format
from alexnet.cpu_session import cpu_session
from alexnet.errors import InputError
from alexnet.layer_precision import layer_precision
from alexnet.metadata import ModelMetadata
from tests.calibration.conftest import nets

LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


def quantised(path: Path, form: Format = "int8", kept: tuple[str, ...] = (), limit: float = 30.0) -> onnx.ModelProto:
    model = onnx.load(path)
    nodes = quantisable(model)
    tensors = {node.source for node in nodes} | {node.result for node in nodes if node.result}
    options = QuantiseOptions(form)
    return quantise(model, nodes, dict.fromkeys(tensors, limit), options, kept_layers(nodes, kept))


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_layers_have_explicit_q_dq_and_biases_stay_in_float(model: Path, form: Format) -> None:
    made = quantised(model, form)
    source, kinds = makers(made), {tensor.name: tensor for tensor in made.graph.initializer}
    kind = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}[form]
    layers = [node for node in made.graph.node if node.name in LAYERS]
    assert [node.name for node in layers] == LAYERS
    for node in layers:
        taken, weight = source[node.input[0]], source[node.input[1]]
        assert taken.op_type == weight.op_type == "DequantizeLinear"
        assert source[taken.input[0]].op_type == "QuantizeLinear"
        assert kinds[weight.input[0]].data_type == kind
        # Per output channel, symmetric; activations per tensor.
        channels = kinds[weight.input[0]].dims[0]
        assert list(kinds[weight.input[1]].dims) == [channels]
        assert list(kinds[taken.input[1]].dims) == []
        for end in (*weight.input[2:], *taken.input[2:]):
            assert not any(kinds[end].raw_data)
        assert kinds[node.input[2]].data_type == TensorProto.FLOAT
    assert {layer_precision(made)[name] for name in LAYERS} == {form}
    assert f"{layers[0].input[1].rpartition('/')[0]}" not in kinds


@pytest.mark.parametrize("lrn", ["conv", "native", "function"])
@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_normalisation_mean_and_softmax_are_left_out(export: object, lrn: str, form: Format) -> None:
    path = export(lrn=lrn)  # type: ignore[operator]
    made, before = quantised(path, form), onnx.load(path)
    names = {node.name for node in before.graph.node}
    kept = [node for node in made.graph.node if node.name in names and node.name not in LAYERS]
    # The nodes around the layers are those of the float32 model, in its order; only what they read is dequantised.
    assert [node.name for node in kept] == [node.name for node in before.graph.node if node.name not in LAYERS]
    norm = [node for node in kept if "lrn" in node.name]
    assert norm
    weights = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    for node in norm:
        # None of its own tensors: neither the band nor the squares of the banded convolution.
        assert all(weights.get(name, TensorProto.FLOAT) == TensorProto.FLOAT for name in node.input)
        assert not any("lrn" in name and name.endswith("/dequantised") for name in node.input)
    source = makers(made)
    assert source["probabilities"].op_type == "ReduceMean"
    assert source[next(node for node in kept if node.op_type == "Softmax").input[0]].op_type == "Gemm"
    assert "quantised" not in "".join(next(node for node in kept if node.name == "subtract_mean").input)
    assert [function.name for function in made.functions] == (["ResponseNorm"] if lrn == "function" else [])
    onnx.checker.check_model(made, full_check=True)
    cpu_session(made)


def test_weights_that_convolutions_share_are_stored_once(export: object) -> None:
    made = quantised(export(stem="shared"))  # type: ignore[operator]
    weights = [node.input[1] for node in made.graph.node if node.name.endswith("/conv1")]
    assert weights == ["conv1.weight/dequantised"] * 3
    assert sum(node.output[0] == "conv1.weight/dequantised" for node in made.graph.node) == 1


def test_a_layer_that_is_kept_is_the_float_one(model: Path) -> None:
    made = quantised(model, kept=("conv1", "fc8"))
    precision = layer_precision(onnx.shape_inference.infer_shapes(made))
    assert {name for name in LAYERS if precision[name] == "fp32"} == {"conv1", "fc8"}
    assert "conv1.weight" in {tensor.name for tensor in made.graph.initializer}


def test_a_layer_of_an_ensemble_is_kept_in_each_network_or_in_one(export: object) -> None:
    nodes = quantisable(onnx.load(export(0, 1)))  # type: ignore[operator]
    assert layers_of(nodes) == [f"net{place}/{name}" for place in (1, 2) for name in LAYERS]
    assert kept_layers(nodes, ["conv1"]) == {"net1/conv1", "net2/conv1"}
    assert kept_layers(nodes, ["net2/fc6"]) == {"net2/fc6"}
    # The logits of both networks stay as sums.
    assert [node.layer for node in nodes if node.result is None] == ["net1/fc8", "net2/fc8"]
    with pytest.raises(InputError, match="no layer 'conv9' to keep in float, it has net1/conv1, "):
        kept_layers(nodes, ["conv9"])


def test_one_scale_runs_from_a_convolution_over_relu_and_pooling_to_the_next(model: Path) -> None:
    nodes = {node.layer: node for node in quantisable(onnx.load(model))}
    assert nodes["conv3"].result == nodes["conv4"].source == "relu3"
    assert nodes["conv5"].result == nodes["fc6"].source == "relu5"
    # Normalisation leaves the grid, so what follows it has statistics of its own.
    assert nodes["conv2"].source == "pool1"


def test_poolings_stay_in_float_and_answer_the_same(model: Path, tmp_path: Path) -> None:
    made = quantised(model)
    added = [node for node in made.graph.node if node.name.endswith("/positive")]
    assert [(node.op_type, node.input[0]) for node in added] == [("Relu", "pool1"), ("Relu", "pool2")]
    assert not any(node.name.endswith("/positive") for node in quantised(model, "fp8").graph.node)
    bare = onnx.ModelProto.FromString(made.SerializeToString())
    nodes = [node for node in made.graph.node if not node.name.endswith("/positive")]
    del bare.graph.node[:]
    bare.graph.node.extend(nodes)
    for node in bare.graph.node:
        node.input[:] = [name.removesuffix("/positive") for name in node.input]
    facts = ModelMetadata.from_properties({entry.key: entry.value for entry in made.metadata_props}, "made")
    fed = {"pictures": facts.fed(nets.random_pictures(4, seed=5))}
    assert np.array_equal(cpu_session(made).run(None, fed)[0], cpu_session(bare).run(None, fed)[0])
    assert pooled_in_integers(bare, tmp_path)
    assert not pooled_in_integers(made, tmp_path)


def pooled_in_integers(model: onnx.ModelProto, folder: Path) -> bool:
    """Return whether ONNX Runtime runs a pooling in integers, for which it has no fast kernel."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(folder / "optimised.onnx")
    source = makers(optimised)
    pools = [node for node in optimised.graph.node if node.op_type == "MaxPool"]
    assert pools
    return any(source[node.input[0]].op_type == "QuantizeLinear" for node in pools)


def test_a_pooling_of_what_may_be_negative_gets_no_relu() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"]),
        helper.make_node("MaxPool", ["conv"], ["signed"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Mul", ["relu", "conv"], ["product"]),
        helper.make_node("MaxPool", ["product"], ["mixed"]),
        helper.make_node("Concat", ["relu", "relu"], ["both"]),
        helper.make_node("MaxPool", ["both"], ["positive"]),
    ]
    source = {node.output[0]: node for node in nodes}
    found = {name: pooled_positive(name, source) for name in ("x", "relu", "signed", "mixed", "positive")}
    assert found == {"x": False, "relu": False, "signed": False, "mixed": False, "positive": True}


def test_weights_are_rounded_to_their_channel() -> None:
    weight = np.array([[[1.0, -0.5]], [[0.0, 0.0]], [[-8.0, 4.1]]], dtype=np.float32)
    whole, scales = quantised_weight(weight, QuantiseOptions("int8", full_range=True))
    assert whole.reshape(3, 2).tolist() == [[127, -64], [0, 0], [-127, 65]]
    assert scales == pytest.approx([1 / 127, 1, 8 / 127])
    seven, _ = quantised_weight(weight, QuantiseOptions("int8"))
    assert np.abs(seven).max() == 63
    eight, scales = quantised_weight(weight, QuantiseOptions("fp8"))
    assert np.abs(eight.astype(np.float32) * scales[:, None, None] - weight).max() < 0.05 * 8


def test_two_products_of_seven_bits_fit_in_sixteen() -> None:
    assert 2 * 255 * 63 <= np.iinfo(np.int16).max < 2 * 255 * 127


def test_the_mean_is_halved_to_a_hundredth_of_a_pixel_value(model: Path) -> None:
    before = onnx.load(model)
    after = with_half_means(before)
    mean = numpy_helper.to_array(next(tensor for tensor in before.graph.initializer if tensor.name == "mean_image"))
    parts = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    assert "mean_image" not in parts
    found = parts["mean_image/rest"].astype(np.float32) + parts["mean_image/level"]
    assert np.abs(found - mean).max() <= 0.016
    assert parts["mean_image/rest"].nbytes * 2 == mean.nbytes
