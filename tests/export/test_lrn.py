from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from alexnet import ops
from alexnet.architecture import MapNorm, ResponseNorm
from alexnet.errors import MissingPackageError
from alexnet.export.builder import GraphBuilder
from alexnet.export.graph import onnx_model
from alexnet.export.lrn import map_norm, response_norm
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions, Lowering
from alexnet.export.source import Source
from alexnet.recipe import NetworkRecipe
from alexnet.train.evaluate import ten_crop_probabilities
from tests.export.conftest import SIDE, random_source

Wide = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)
BUILT_IN: tuple[Lowering, ...] = ("conv", "native", "function")


def lowered(norm: ResponseNorm, shape: tuple[int, ...], columns: int, lowering: Lowering) -> onnx.ModelProto:
    """Return a model that is one normalisation."""
    graph = GraphBuilder()
    response_norm(graph, "x", "norm", norm, shape[1], columns, lowering)
    return model_of(graph, shape)


def model_of(graph: GraphBuilder, shape: tuple[int, ...]) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in ("x", "norm")]
    proto = helper.make_graph(graph.nodes, "norm", ends[:1], ends[1:], graph.initialisers)
    for function in graph.functions.values():
        function.opset_import.append(helper.make_opsetid("", 18))
    imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in graph.domains)]
    model = helper.make_model(proto, opset_imports=imports, ir_version=10, functions=list(graph.functions.values()))
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, x: Array, output: str = "norm") -> npt.NDArray[np.float32]:
    """Run a model in ONNX Runtime, with the library of the operator where the model needs it."""
    options = onnxruntime.SessionOptions()
    ops.register(options, model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: npt.NDArray[np.float32] = session.run([output], {session.get_inputs()[0].name: x})[0]
    return answer


def openvino(model: onnx.ModelProto, x: Array) -> npt.NDArray[np.float32]:
    ov = pytest.importorskip("openvino")
    core = ov.Core()
    precision = {"INFERENCE_PRECISION_HINT": "f32"}
    answer: npt.NDArray[np.float32] = core.compile_model(core.read_model(model.SerializeToString()), "CPU", precision)(
        x
    )[0]
    return answer


def formula(a: Wide, norm: ResponseNorm, columns: int) -> Wide:
    """Section 3.3 written out in float64."""
    width = a.shape[1] // (columns if norm.scope == "column" else 1)
    out = np.empty_like(a)
    for i in range(a.shape[1]):
        first = i // width * width
        near = range(max(first, i - norm.size // 2), min(first + width, i + norm.size // 2 + 1))
        out[:, i] = a[:, i] / (norm.k + norm.alpha * sum(a[:, j] ** 2 for j in near)) ** norm.beta
    return out


NORMS = st.builds(
    ResponseNorm,
    size=st.sampled_from([1, 3, 5, 7, 9, 15]),
    alpha=st.floats(1e-6, 1e-1),
    beta=st.one_of(st.just(0.75), st.floats(0.1, 1.5)),
    k=st.floats(0.5, 4.0),
    scope=st.sampled_from(["column", "layer"]),
)


def holds(lowering: Lowering, norm: ResponseNorm, columns: int, scale: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(0, scale, (2, 24, 3, 3)).astype(np.float32)
    expected = formula(x.astype(np.float64), norm, columns)
    found = run(lowered(norm, x.shape, columns, lowering), x)
    allowed = np.full(x.shape, 2e-6 * max(1.0, np.abs(expected).max()))
    if lowering == "native":
        # ONNX Runtime slides its sum from map to map, and so keeps the rounding errors of the largest.
        sums = (x / expected) ** (1 / norm.beta)
        allowed += np.abs(expected) * norm.beta * x.shape[1] * np.finfo(np.float32).eps * sums.max() / sums
    assert (np.abs(found - expected) <= allowed).all()


@pytest.mark.parametrize("lowering", BUILT_IN)
@settings(deadline=None, max_examples=40)
@given(
    norm=NORMS,
    columns=st.sampled_from([1, 2]),
    scale=st.sampled_from([1e-2, 1.0, 300.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_lowering_equals_the_formula(
    lowering: Lowering, norm: ResponseNorm, columns: int, scale: float, seed: int
) -> None:
    holds(lowering, norm, columns, scale, seed)


@pytest.mark.usefixtures("library")
@settings(deadline=None, max_examples=40)
@given(
    norm=NORMS,
    columns=st.sampled_from([1, 2]),
    scale=st.sampled_from([1e-2, 1.0, 300.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_plugin_equals_the_formula(norm: ResponseNorm, columns: int, scale: float, seed: int) -> None:
    holds("plugin", norm, columns, scale, seed)


@pytest.mark.parametrize(
    ("lowering", "scope", "kinds"),
    [
        ("conv", "column", {"Mul": 3, "Conv": 1, "Sqrt": 2, "Div": 1}),
        ("conv", "layer", {"Mul": 3, "Conv": 1, "Sqrt": 2, "Div": 1}),
        ("native", "column", {"Split": 1, "LRN": 2, "Concat": 1}),
        ("native", "layer", {"LRN": 1}),
        ("function", "column", {"ResponseNorm": 1}),
        ("plugin", "layer", {"ResponseNorm": 1}),
    ],
)
def test_the_nodes_of_a_lowering(lowering: Lowering, scope: Any, kinds: dict[str, int]) -> None:
    graph = GraphBuilder()
    with graph.prefixed("net2/"):
        out = response_norm(graph, "x", "lrn1", ResponseNorm(scope=scope), 96, 2, lowering)
    assert Counter(node.op_type for node in graph.nodes) == kinds
    assert out == graph.nodes[-1].name == graph.nodes[-1].output[0] == "net2/lrn1"
    assert all(node.name.startswith("net2/lrn1") for node in graph.nodes)


def test_onnx_divides_alpha_by_the_size_and_calls_k_its_bias() -> None:
    graph = GraphBuilder()
    response_norm(graph, "x", "lrn1", ResponseNorm(size=9, alpha=1e-3, k=3.0), 96, 2, "native")
    first = {entry.name: helper.get_attribute_value(entry) for entry in graph.nodes[1].attribute}
    assert graph.nodes[1].name == "lrn1/column1"
    assert (first["size"], first["bias"], first["beta"]) == (9, 3.0, 0.75)
    assert first["alpha"] == pytest.approx(9e-3)


def test_the_body_is_the_arithmetic_of_conv() -> None:
    x = np.random.default_rng(2).normal(0, 100, (3, 16, 5, 5)).astype(np.float32)
    one, other = (lowered(ResponseNorm(), x.shape, 2, lowering) for lowering in ("conv", "function"))
    assert {node.op_type for node in other.functions[0].node} == {"Constant", "Sqrt", "CastLike", "Mul", "Conv", "Div"}
    assert np.abs(run(one, x) - run(other, x)).max() <= 1e-6


def test_one_body_serves_different_powers() -> None:
    x = np.random.default_rng(3).normal(0, 100, (1, 8, 2, 2)).astype(np.float32)
    first, second = ResponseNorm(alpha=1e-3), ResponseNorm(alpha=1e-2, beta=0.5, scope="layer")
    expected = formula(formula(x.astype(np.float64), first, 2), second, 2)
    for norms in ((first, second), (second, first)):
        graph = GraphBuilder()
        middle = response_norm(graph, "x", "first", norms[0], 8, 2, "function")
        response_norm(graph, middle, "norm", norms[1], 8, 2, "function")
        model = model_of(graph, x.shape)
        assert [node.op_type for node in model.graph.node] == ["ResponseNorm"] * 2
        expected = formula(formula(x.astype(np.float64), norms[0], 2), norms[1], 2)
        assert np.abs(run(model, x) - expected).max() < 1e-4


def test_the_body_serves_float16() -> None:
    x = np.random.default_rng(4).normal(0, 100, (2, 8, 3, 3)).astype(np.float16)
    model = lowered(ResponseNorm(), x.shape, 2, "function")
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype("f2"), tensor.name))
    expected = formula(x.astype(np.float64), ResponseNorm(), 2)
    found = run(model, x)
    assert found.dtype == np.float16
    assert np.abs(found - expected).max() < 3e-3 * np.abs(expected).max()


def test_openvino_runs_the_function_once_it_is_inlined() -> None:
    x = np.random.default_rng(5).normal(0, 100, (2, 16, 5, 5)).astype(np.float32)
    expected = formula(x.astype(np.float64), ResponseNorm(), 2)
    model = lowered(ResponseNorm(), x.shape, 2, "function")
    assert np.abs(openvino(ops.inlined(model), x) - expected).max() < 1e-4
    assert {node.op_type for node in ops.inlined(model).graph.node} >= {"Conv", "Div"}
    assert ops.inlined(bare := lowered(ResponseNorm(), x.shape, 2, "plugin")) is bare
    with pytest.raises(Exception, match=r"No conversion rule found for operations: alexnet\.ResponseNorm"):
        openvino(model, x)


@pytest.mark.parametrize("lowering", ["conv", "native"])
def test_openvino_runs_the_others_as_they_are(lowering: Lowering) -> None:
    x = np.random.default_rng(6).normal(0, 100, (2, 16, 5, 5)).astype(np.float32)
    expected = formula(x.astype(np.float64), ResponseNorm(), 2)
    assert np.abs(openvino(lowered(ResponseNorm(), x.shape, 2, lowering), x) - expected).max() < 1e-4


NODES = {"conv": 47, "native": 41, "function": 35, "plugin": 35}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_an_export_passes_its_proof(
    tiny_source: Source, pictures: npt.NDArray[np.uint8], tmp_path: Path, lowering: Lowering
) -> None:
    out = tmp_path / "model.onnx"
    exported = export_onnx([tiny_source], pictures, [str(p) for p in range(9)], out, ExportOptions(lrn=lowering))
    assert (exported.nodes, exported.proof.comparison.largest < 1e-5) == (NODES[lowering], True)
    model = onnx.load(out)
    assert {function.name for function in model.functions} == ({"ResponseNorm"} if lowering == "function" else set())
    shapes = {
        entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in model.graph.value_info
    }
    assert shapes["lrn1"][1:] == shapes["relu1"][1:]


@pytest.mark.usefixtures("library")
def test_the_library_stands_beside_a_model_that_needs_it(
    tiny_source: Source, pictures: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    out = tmp_path / "model.onnx"
    export_onnx([tiny_source], pictures, [str(p) for p in range(9)], out, ExportOptions(lrn="plugin"))
    beside = tmp_path / "alexnet_ops.so"
    assert beside.read_bytes() == ops.ops_library().read_bytes()
    properties = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert properties[ops.DIGEST] == __import__("hashlib").sha256(beside.read_bytes()).hexdigest()


def test_without_the_library_nothing_is_exported(
    tiny_source: Source, pictures: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "LIBRARY", tmp_path / "alexnet_ops.so")
    folder = tmp_path / "out"
    with pytest.raises(MissingPackageError, match="make ops"):
        export_onnx([tiny_source], pictures, [str(p) for p in range(9)], folder / "m.onnx", ExportOptions(lrn="plugin"))
    assert not list(folder.iterdir())


@pytest.mark.parametrize("lowering", BUILT_IN)
def test_a_layer_wide_norm_of_another_size_in_a_whole_graph(lowering: Lowering) -> None:
    network = NetworkRecipe(width=1 / 16, crop=64, classes=7, lrn_scope="layer", lrn_size=7, lrn_beta=0.6, lrn_k=1.0)
    source = random_source(network)
    pictures = np.random.default_rng(7).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    expected = ten_crop_probabilities(source.network, pictures, source.mean)
    model = onnx_model([source.numbers()], ExportOptions(lrn=lowering))
    assert np.abs(run(model, pictures, "probabilities") - expected).max() < 1e-5


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("opset", [19, 21, 23])
def test_other_opsets_are_valid(tiny_source: Source, lowering: Lowering, opset: int) -> None:
    model = onnx_model([tiny_source.numbers()], ExportOptions(lrn=lowering, opset=opset))
    onnx.checker.check_model(model, full_check=True)


def test_map_norm_equals_its_formula_at_the_borders_too() -> None:
    norm = MapNorm(alpha=0.01)
    x = np.random.default_rng(0).normal(0, 3, (1, 2, 7, 6)).astype(np.float32)
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (2, 2), (2, 2)))
    total = sum(padded[:, :, r : r + 7, c : c + 6] for r in range(5) for c in range(5))
    graph = GraphBuilder()
    map_norm(graph, "x", "norm", norm)
    assert np.abs(run(model_of(graph, x.shape), x) - x / (norm.k + norm.alpha * total) ** norm.beta).max() < 1e-6
