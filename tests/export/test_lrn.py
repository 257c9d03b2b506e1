from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from alexnet.architecture import MapNorm, ResponseNorm
from alexnet.export.builder import GraphBuilder
from alexnet.export.lrn import map_norm, response_norm

Wide = npt.NDArray[np.float64]


def run(norm: ResponseNorm | MapNorm, x: npt.NDArray[np.float32], columns: int = 1) -> npt.NDArray[np.float32]:
    """Run the lowering of a normalisation in ONNX Runtime."""
    graph = GraphBuilder()
    if isinstance(norm, MapNorm):
        out = map_norm(graph, "x", "norm", norm)
    else:
        out = response_norm(graph, "x", "norm", norm, x.shape[1], columns)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(x.shape)) for name in ("x", out)]
    proto = helper.make_graph(graph.nodes, "norm", ends[:1], ends[1:], graph.initialisers)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: npt.NDArray[np.float32] = session.run(None, {"x": x})[0]
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


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(1e-6, 1e-1),
    beta=st.one_of(st.just(0.75), st.floats(0.1, 1.5)),
    k=st.floats(0.5, 4.0),
    scope=st.sampled_from(["column", "layer"]),
    columns=st.sampled_from([1, 2]),
    scale=st.sampled_from([1e-2, 1.0, 300.0]),
)
def test_the_lowering_equals_the_formula(
    seed: int, size: int, alpha: float, beta: float, k: float, scope: str, columns: int, scale: float
) -> None:
    norm = ResponseNorm(size, alpha, beta, k, scope)  # type: ignore[arg-type]
    x = np.random.default_rng(seed).normal(0, scale, (2, 12, 3, 3)).astype(np.float32)
    expected = formula(x.astype(np.float64), norm, columns)
    assert np.abs(run(norm, x, columns) - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


def test_the_paper_takes_four_kinds_of_node_only() -> None:
    graph = GraphBuilder()
    response_norm(graph, "x", "lrn1", ResponseNorm(), 96, 2)
    assert {node.op_type for node in graph.nodes} == {"Mul", "Conv", "Sqrt", "Div"}
    assert graph.nodes[-1].name == "lrn1"


def test_map_norm_equals_its_formula_at_the_borders_too() -> None:
    norm = MapNorm(alpha=0.01)
    x = np.random.default_rng(0).normal(0, 3, (1, 2, 7, 6)).astype(np.float32)
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (2, 2), (2, 2)))
    total = sum(padded[:, :, r : r + 7, c : c + 6] for r in range(5) for c in range(5))
    assert np.abs(run(norm, x) - x / (norm.k + norm.alpha * total) ** norm.beta).max() < 1e-6
