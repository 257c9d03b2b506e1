from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.architecture import ResponseNorm
from alexnet.bfloat16 import as_stored, element_types, from_bfloat16, runnable_on_cpu
from alexnet.cpu_session import cpu_session
from alexnet.errors import ModelError, ParityError
from alexnet.export.builder import GraphBuilder
from alexnet.export.cast import TYPES, Reduced, cast_model
from alexnet.export.expectation import expected_pack, metadata_of
from alexnet.export.graph import onnx_model
from alexnet.export.lrn import response_norm
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions, Lowering
from alexnet.export.proof import prove
from alexnet.export.source import Source
from alexnet.ops import LIBRARY
from alexnet.parity import TOLERANCE
from alexnet.recipe import NetworkRecipe
from tests.export.conftest import SIDE, TINY, random_pictures, random_source

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
PRECISIONS: tuple[Reduced, ...] = ("fp16", "bf16")
STEPS_2012 = (("lrn", "pool", "relu"), ("relu", "lrn", "map_norm", "pool"), ("relu",), ("relu",), ("relu", "pool"))
both = pytest.mark.parametrize("precision", PRECISIONS)


def answer(model: onnx.ModelProto, pictures: npt.NDArray[np.generic], output: str = "probabilities") -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Floats = session.run([output], {"pictures": pictures})[0]
    return result


def casts(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Cast"]


@both
def test_the_type_of_every_tensor(tiny_source: Source, precision: Reduced) -> None:
    model = cast_model(onnx_model([tiny_source.numbers()], ExportOptions()), precision)
    onnx.checker.check_model(model, full_check=True)
    whole = {"pictures": TensorProto.UINT8}
    whole |= dict.fromkeys(("to_float", "to_planes", "subtract_mean", "mean_image"), TensorProto.FLOAT)
    whole |= dict.fromkeys(("softmax/to_float", "softmax", "by_crop", "probabilities"), TensorProto.FLOAT)
    for name, kind in element_types(model).items():
        if kind != TensorProto.INT64:
            assert (name, kind) == (name, whole.get(name, TYPES[precision]))
    assert casts(model) == ["to_float", f"subtract_mean/to_{precision}", "softmax/to_float"]
    inferred = {entry.name: entry.type.tensor_type for entry in model.graph.value_info}
    assert (inferred["conv1"].elem_type, inferred["conv1"].shape.dim[1].dim_value) == (TYPES[precision], 6)


@both
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(),
        ExportOptions(stem="shared"),
        ExportOptions(crops="one", input="float"),
        ExportOptions(opset=23, batch=9),
    ],
    ids=["plain", "shared", "float, one crop", "opset 23"],
)
def test_every_form_agrees_and_casts_once_down_and_once_up(
    tiny_source: Source, pictures: Pixels, options: ExportOptions, precision: Reduced
) -> None:
    fed = pictures if options.input == "pixels" else pictures.transpose(0, 3, 1, 2).astype(np.float32)
    wide = onnx_model([tiny_source.numbers()], options)
    model = cast_model(wide, precision)
    assert [model.graph.input, model.graph.output] == [wide.graph.input, wide.graph.output]
    assert casts(model)[-2:] == [f"subtract_mean/to_{precision}", "softmax/to_float"]
    expected, found = answer(wide, fed), answer(as_stored(model), fed)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < TOLERANCE[precision]
    assert np.abs(answer(runnable_on_cpu(model), fed) - expected).max() < TOLERANCE[precision]


@both
def test_an_ensemble_casts_in_each_network_and_averages_in_float32(
    tiny_source: Source, pictures: Pixels, precision: Reduced
) -> None:
    other = random_source(replace(TINY, columns=1), seed=5)
    wide = onnx_model([tiny_source.numbers(), other.numbers()], ExportOptions())
    model = cast_model(wide, precision)
    each = [f"net{i}/{name}" for i in (1, 2) for name in (f"subtract_mean/to_{precision}", "softmax/to_float")]
    assert casts(model) == ["to_float", *each]
    assert np.abs(answer(as_stored(model), pictures) - answer(wide, pictures)).max() < TOLERANCE[precision]


@both
def test_the_variants_of_2012(precision: Reduced) -> None:
    source = random_source(replace(TINY, steps=STEPS_2012, lrn_alpha=2e-5))
    wide, pictures = onnx_model([source.numbers()], ExportOptions()), random_pictures(9)
    model = cast_model(wide, precision)
    assert element_types(model)["map_norm2"] == TYPES[precision]
    assert np.abs(answer(as_stored(model), pictures) - answer(wide, pictures)).max() < TOLERANCE[precision]


@both
def test_onnxs_own_norm_stays_float32_between_casts(tiny_source: Source, pictures: Pixels, precision: Reduced) -> None:
    wide = onnx_model([tiny_source.numbers()], ExportOptions(lrn="native"))
    model = cast_model(wide, precision)
    kinds = element_types(model)
    for node in model.graph.node:
        if node.op_type == "LRN":
            assert kinds[node.input[0]] == kinds[node.output[0]] == TensorProto.FLOAT
    assert (kinds["relu1"], kinds["pool1"]) == (TYPES[precision], TYPES[precision])
    each = [f"lrn{n}/column{c}/to_{to}" for n in (1, 2) for to in ("float", precision) for c in (1, 2)]
    assert casts(model)[2:-1] == each
    assert np.abs(answer(as_stored(model), pictures) - answer(wide, pictures)).max() < TOLERANCE[precision]


@both
def test_an_operator_without_a_body_stays_float32_between_casts(tiny_source: Source, precision: Reduced) -> None:
    wide = onnx_model([tiny_source.numbers()], ExportOptions(lrn="plugin"))
    model = cast_model(wide, precision)
    kinds = element_types(model)
    assert (kinds["relu1"], kinds["lrn1"], kinds["pool1"]) == (TYPES[precision], TensorProto.FLOAT, TYPES[precision])
    assert casts(model)[2:-1] == [f"lrn{n}/to_{to}" for n in (1, 2) for to in ("float", precision)]


@both
@pytest.mark.skipif(not LIBRARY.is_file(), reason="the operator's library is not built: make ops")
def test_the_library_serves_the_bare_operator(tiny_source: Source, pictures: Pixels, precision: Reduced) -> None:
    wide = onnx_model([tiny_source.numbers()], ExportOptions(lrn="plugin"))
    session = cpu_session(cast_model(wide, precision))
    (found,) = session.run(["probabilities"], {"pictures": pictures})
    expected = answer(onnx_model([tiny_source.numbers()], ExportOptions()), pictures)
    assert 0 < np.abs(found - expected).max() < TOLERANCE[precision]


@both
def test_a_norm_with_a_body_is_reduced_as_its_convolution_is(
    tiny_source: Source, pictures: Pixels, precision: Reduced
) -> None:
    numbers = [tiny_source.numbers()]
    function = cast_model(onnx_model(numbers, ExportOptions(lrn="function")), precision)
    onnx.checker.check_model(function, full_check=True)
    conv = cast_model(onnx_model(numbers, ExportOptions()), precision)
    assert casts(function) == casts(conv)
    assert np.array_equal(answer(as_stored(function), pictures), answer(as_stored(conv), pictures))


@both
def test_an_operator_with_a_body_is_reduced_and_its_body_with_it(precision: Reduced) -> None:
    body = helper.make_function(
        "mine",
        "Double",
        ["a"],
        ["b"],
        [
            helper.make_node("Constant", [], ["two"], value_float=2.0),
            helper.make_node("CastLike", ["two", "a"], ["factor"]),
            helper.make_node("Mul", ["a", "factor"], ["b"]),
        ],
        [helper.make_opsetid("", 18)],
    )
    graph = GraphBuilder()
    weight = graph.constant("w", np.eye(3, dtype=np.float32)[:, :, None, None] * 2000)
    graph.nodes.append(helper.make_node("Conv", ["pictures", weight], ["conv"], "conv"))
    graph.nodes.append(helper.make_node("Double", ["conv"], ["double"], "double", domain="mine"))
    graph.node("Softmax", ["double"], "softmax", output="probabilities", axis=1)
    model = whole(graph, [2, 3, 4, 4])
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    cast = cast_model(onnx.shape_inference.infer_shapes(model), precision)
    onnx.checker.check_model(cast, full_check=True)
    assert casts(cast) == [f"pictures/to_{precision}", "softmax/to_float"]
    x = np.random.default_rng(0).uniform(0, 1e-3, (2, 3, 4, 4)).astype(np.float32)
    assert np.abs(answer(as_stored(cast), x) - answer(model, x)).max() < TOLERANCE[precision]


def whole(graph: GraphBuilder, shape: list[int]) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pictures", "probabilities")]
    proto = helper.make_graph(graph.nodes, "small", ends[:1], ends[1:], graph.initialisers)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def normalisation_at(scale: float, native: bool = False) -> onnx.ModelProto:
    """Planes times `scale`, normalised with the paper's constants, as a network of one layer."""
    graph = GraphBuilder()
    weight = graph.constant("conv1.weight", np.eye(12, dtype=np.float32)[:, :, None, None] * np.float32(scale))
    x = graph.node("Relu", [graph.node("Conv", ["pictures", weight], "conv1")], "relu1")
    if native:
        x = graph.node("LRN", [x], "lrn1", size=5, alpha=5e-4, beta=0.75, bias=2.0)
    else:
        x = response_norm(graph, x, "lrn1", ResponseNorm(), 12, 2)
    graph.node("Relu", [x], "last", output="probabilities")
    return whole(graph, [2, 12, 5, 5])


@both
@pytest.mark.parametrize("native", [False, True], ids=["conv", "native"])
def test_activations_in_the_thousands_do_not_overflow(precision: Reduced, native: bool) -> None:
    x = np.random.default_rng(4).uniform(0.5, 1, (2, 12, 5, 5)).astype(np.float32)
    wide = normalisation_at(8000, native)
    cast = cast_model(wide, precision)
    assert cast.graph.output == wide.graph.output
    expected, found = answer(wide, x), answer(as_stored(cast), x)
    assert (np.abs(found / expected - 1) < {"fp16": 0.005, "bf16": 0.03}[precision]).all()


def test_squares_that_are_not_scaled_overflow_and_show() -> None:
    wide = normalisation_at(8000)
    for entry in wide.graph.initializer:
        if entry.name == "lrn1/alpha_root":
            entry.CopyFrom(numpy_helper.from_array(np.float32(1.0), entry.name))
    x = np.full((2, 12, 5, 5), 0.5, dtype=np.float32)
    model = cast_model(wide, "fp16")
    assert np.isfinite(answer(wide, x)).all()
    assert not np.isfinite(answer(as_stored(model), x)).any()


@both
def test_weights_are_rounded_to_nearest_even(precision: Reduced) -> None:
    wide = normalisation_at(1.0)
    step = 2.0 ** {"fp16": -10, "bf16": -7}[precision]
    values = np.array([1 + step / 2, 1 + 3 * step / 2, 1 + 0.49 * step, -1.0], dtype=np.float32).repeat(36)
    wide.graph.initializer[0].CopyFrom(numpy_helper.from_array(values.reshape(12, 12, 1, 1), "conv1.weight"))
    (stored,) = (entry for entry in cast_model(wide, precision).graph.initializer if entry.name == "conv1.weight")
    kind = np.float16 if precision == "fp16" else np.uint16
    bits = np.frombuffer(stored.raw_data, kind)
    found = bits.astype(np.float32) if precision == "fp16" else from_bfloat16(bits)
    assert found[::36].tolist() == [1, 1 + 2 * step, 1, -1]


def test_a_weight_past_float16_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"conv1.weight reaches 7e\+04, float16 ends at 65504; .*--precision bf16"):
        cast_model(normalisation_at(7e4), "fp16")
    cast_model(normalisation_at(7e4), "bf16")


def test_bfloat16_raises_an_older_opset_and_keeps_a_later_one(tiny_source: Source) -> None:
    for opset, half, brain in ((18, 18, 22), (23, 23, 23)):
        wide = onnx_model([tiny_source.numbers()], ExportOptions(opset=opset))
        assert cast_model(wide, "fp16").opset_import[0].version == half
        assert cast_model(wide, "bf16").opset_import[0].version == brain


def test_the_float32_model_is_left_as_it_was(tiny_source: Source) -> None:
    wide = onnx_model([tiny_source.numbers()], ExportOptions())
    helper.set_model_props(wide, {"key": "value"})
    before = wide.SerializeToString()
    model = cast_model(wide, "bf16")
    assert wide.SerializeToString() == before
    assert (model.metadata_props, model.producer_name) == (wide.metadata_props, "alexnet-toolchain")
    assert len(model.SerializeToString()) < 0.62 * len(before)


@both
@pytest.mark.parametrize(
    ("layer", "weight", "fault"),
    [
        ("lrn1", "lrn1/alpha_root", lambda values: values * 5**0.5),
        ("crops", "mean_image", lambda values: values[:, :, ::-1]),
    ],
    ids=["alpha times 5", "mean mirrored"],
)
def test_planted_faults_pass_no_proof(
    tiny_source: Source,
    pictures: Pixels,
    precision: Reduced,
    layer: str,
    weight: str,
    fault: Callable[[Floats], Floats],
) -> None:
    options = ExportOptions(precision=precision)
    wide = onnx_model([tiny_source.numbers()], options)
    pack = expected_pack([tiny_source], pictures, [str(place) for place in range(9)], options)
    metadata = metadata_of([tiny_source], options)
    assert prove(cast_model(wide, precision), metadata, pack).layers.first is None
    for entry in wide.graph.initializer:
        if entry.name == weight:
            wrong = np.ascontiguousarray(fault(numpy_helper.to_array(entry)), dtype=np.float32)
            entry.CopyFrom(numpy_helper.from_array(wrong, weight))
    with pytest.raises(ParityError, match=f"the first layer that differs is {layer},"):
        prove(cast_model(wide, precision), metadata, pack)


@both
@pytest.mark.parametrize("lrn", ["conv", "native"])
def test_openvino_reads_the_file(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, lrn: Lowering, precision: Reduced
) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: extra openvino")
    wide = onnx_model([tiny_source.numbers()], ExportOptions(lrn=lrn))
    model = cast_model(wide, precision)
    onnx.save(model, tmp_path / "model.onnx")
    (found,) = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU")(pictures).values()
    assert np.abs(found - answer(wide, pictures)).max() < TOLERANCE[precision]


@both
@pytest.mark.parametrize("lrn", ["conv", "native", "function"])
def test_tensorrt_rtx_compiles_it(tiny_source: Source, lrn: Lowering, precision: Reduced) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: extra rtx")
    model = cast_model(onnx_model([tiny_source.numbers()], ExportOptions(lrn=lrn, stem="shared")), precision)
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model.SerializeToString()), parser.get_error(0).desc()
    assert [network.get_input(0).dtype, network.get_output(0).dtype] == [trt.DataType.UINT8, trt.DataType.FLOAT]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("pictures", *((batch, SIDE, SIDE, 3) for batch in (1, 2, 4)))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.slow
@both
def test_the_full_size_network(precision: Reduced) -> None:
    source = random_source(NetworkRecipe(), side=256)
    wide, pictures = onnx_model([source.numbers()], ExportOptions()), random_pictures(2, 256)
    model = as_stored(cast_model(wide, precision))
    assert np.abs(answer(model, pictures) - answer(wide, pictures)).max() < TOLERANCE[precision]


@both
@pytest.mark.parametrize("external", [False, True])
def test_an_export_is_of_the_precision_and_proven(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, external: bool, precision: Reduced
) -> None:
    options = ExportOptions(precision=precision, external=external)
    exported = export_onnx([tiny_source], pictures, [str(place) for place in range(9)], tmp_path / "m.onnx", options)
    assert exported.proof.tolerance == TOLERANCE[precision]
    assert 0 < exported.proof.comparison.largest < TOLERANCE[precision]
    assert element_types(onnx.load(exported.model))["fc6.weight"] == TYPES[precision]
