from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from alexnet.bfloat16 import as_stored, element_types, from_bfloat16, runnable_on_cpu, to_bfloat16

Floats = npt.NDArray[np.float32]
KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}


def rounded(values: Floats, precision: str) -> Floats:
    """Torch's rounding, which is not ours."""
    answer: Floats = torch.from_numpy(values).to(TORCH[precision]).float().numpy()
    return answer


def model(nodes: list[onnx.NodeProto], shape: list[int], *weights: onnx.TensorProto) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def chain(precision: str, *nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes, from `i` to `o`, in the reduced type, between float32 `x` and `y`."""
    first = helper.make_node("Cast", ["x"], ["i"], "down", to=KINDS[precision])
    return [first, *nodes, helper.make_node("Cast", ["o"], ["y"], "up", to=TensorProto.FLOAT)]


def run(proto: onnx.ModelProto, x: Floats, level: str = "ORT_ENABLE_ALL") -> Floats:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answer: Floats = session.run(["y"], {"x": x})[0]
    return answer


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_rounding_is_torchs(values: list[float]) -> None:
    x = np.array(values, dtype=np.float32)
    assert np.array_equal(from_bfloat16(to_bfloat16(x)), rounded(x, "bf16"), equal_nan=True)


def test_ties_go_to_even_and_past_the_largest_is_infinite() -> None:
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38, np.nan, -0.0], dtype=np.float32)
    found = from_bfloat16(to_bfloat16(x))
    assert np.array_equal(found, [1, 1 + 2**-6, -1, np.inf, np.nan, 0], equal_nan=True)
    assert np.signbit(found[-1])


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_each_operator_rounds_at_every_level_of_optimisation(precision: str, level: str) -> None:
    x = np.random.default_rng(0).uniform(0.5, 3, (2, 50)).astype(np.float32)
    nodes = [helper.make_node("Mul", ["i", "i"], ["m"]), helper.make_node("Mul", ["m", "i"], ["o"])]
    small = rounded(x, precision)
    expected = rounded(rounded(small * small, precision) * small, precision)
    assert not np.array_equal(expected, rounded(small * small * small, precision))
    assert np.array_equal(run(as_stored(model(chain(precision, *nodes), [2, 50])), x, level), expected)


def test_float16_overflows_where_an_engine_does() -> None:
    x = np.array([[300.0, 100.0]], dtype=np.float32)
    nodes = [helper.make_node("Mul", ["i", "i"], ["m"]), helper.make_node("Sqrt", ["m"], ["o"])]
    proto = model(chain("fp16", *nodes), [1, 2])
    assert run(as_stored(proto), x).tolist() == [[np.inf, 100.0]]
    assert np.isfinite(run(as_stored(model(chain("bf16", *nodes), [1, 2])), x)).all()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_are_read_in_their_type_and_sums_are_float32(precision: str) -> None:
    generator = np.random.default_rng(1)
    x, w = (generator.normal(0, 1, shape).astype(np.float32) for shape in ((3, 400), (5, 400)))
    bits: Any = torch.from_numpy(w).to(TORCH[precision]).view(torch.int16).numpy()
    weight = helper.make_tensor("w", KINDS[precision], w.shape, bits.tobytes(), raw=True)
    proto = model(chain(precision, helper.make_node("Gemm", ["i", "w"], ["o"], transB=1)), [3, 400], weight)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    wide = rounded(x, precision).astype(np.float64) @ rounded(w, precision).astype(np.float64).T
    step = 2.0 ** {"fp16": -10, "bf16": -7}[precision]
    assert (np.abs(run(as_stored(proto), x) - wide) <= 0.51 * step * np.abs(wide) + 1e-4).all()
    (kept,) = as_stored(proto).graph.initializer
    assert kept == weight


def test_what_moves_or_chooses_is_not_rounded_twice_and_names_stay() -> None:
    nodes = [helper.make_node("Relu", ["i"], ["r"], "r"), helper.make_node("Concat", ["r", "r"], ["o"], "o", axis=1)]
    proto = model(chain("bf16", *nodes), [2, 4])
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 8
    stored = as_stored(proto)
    assert [node.op_type for node in stored.graph.node] == ["Cast", "Cast", "Cast", "Relu", "Concat", "Cast"]
    assert {"i", "r", "o", "y"} <= set(element_types(stored))
    x = np.random.default_rng(2).normal(0, 1, (2, 4)).astype(np.float32)
    assert np.array_equal(run(stored, x), np.tile(np.maximum(rounded(x, "bf16"), 0), 2))


def test_a_layers_output_comes_as_float32() -> None:
    proto = model(chain("bf16", helper.make_node("Relu", ["i"], ["o"])), [2, 4])
    proto.graph.output.append(helper.make_tensor_value_info("o", TensorProto.BFLOAT16, [2, 4]))
    session = onnxruntime.InferenceSession(as_stored(proto).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["o"], {"x": np.full((2, 4), 1.001, dtype=np.float32)})
    assert (found.dtype, float(found[0, 0])) == (np.float32, 1.0)


def test_the_body_of_a_function_rounds_too() -> None:
    body = helper.make_function(
        "mine",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Mul", ["a", "a"], ["c"]), helper.make_node("Mul", ["c", "c"], ["b"])],
        [helper.make_opsetid("", 22)],
    )
    proto = model(chain("bf16", helper.make_node("Twice", ["i"], ["o"], domain="mine")), [1, 40])
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    x = np.random.default_rng(3).uniform(1, 2, (1, 40)).astype(np.float32)
    square = rounded(rounded(x, "bf16") ** 2, "bf16")
    assert np.array_equal(run(as_stored(proto), x), rounded(square * square, "bf16"))


def test_only_bfloat16_is_rewritten_for_the_cpu() -> None:
    nodes = [helper.make_node("Mul", ["i", "i"], ["o"])]
    half, brain = (model(chain(precision, *nodes), [1, 4]) for precision in ("fp16", "bf16"))
    plain = model([helper.make_node("Relu", ["x"], ["y"])], [1, 4])
    assert runnable_on_cpu(half) is half
    assert runnable_on_cpu(plain) is plain
    assert as_stored(plain) is plain
    x = np.ones((1, 4), dtype=np.float32)
    assert run(half, x).tolist() == run(runnable_on_cpu(brain), x).tolist() == [[1.0] * 4]


def test_the_type_of_what_has_no_schema_is_its_inputs() -> None:
    proto = model(chain("fp16", helper.make_node("Own", ["i"], ["p"], domain="mine")), [1, 4])
    proto.graph.node.insert(2, helper.make_node("Relu", ["p"], ["o"]))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    types = element_types(proto)
    assert [types[name] for name in ("x", "i", "p", "o", "y")] == [1, 10, 10, 10, 1]
