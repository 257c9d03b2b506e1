"""What a runtime reaches at most on this machine: a large convolution, a large matrix product, reading weights.

Small ONNX graphs in the same runtime with the same threads, timed in the same rounds as the models, so that a share of
them means something whatever else the machine does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.benchmark.timing import Subject

# The side of the square matrix product; maps, positions along a side and pictures of the 3 x 3 convolution; rows and
# columns of the matrix whose 134 MB are read for a product with one vector, too many for any cache.
SIDE, MAPS, POSITIONS, PICTURES = 2048, 256, 27, 8
ROWS, COLUMNS = 4096, 8192


def _model(op: str, x: tuple[int, ...], weights: tuple[int, ...], y: tuple[int, ...], **attributes: Any) -> bytes:
    """Return a graph of one node over an input and constant weights."""
    values = np.resize(np.random.default_rng(0).standard_normal(9973, dtype=np.float32), weights)
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "weights"], ["y"], **attributes)],
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        [numpy_helper.from_array(values, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def matrix_product() -> tuple[bytes, tuple[int, ...], float]:
    """Return a large matrix product: the model, its input's shape, and its floating-point operations."""
    shape = (SIDE, SIDE)
    return _model("MatMul", shape, shape, shape), shape, 2.0 * SIDE**3


def convolution() -> tuple[bytes, tuple[int, ...], float]:
    """Return a large 3 x 3 convolution in the same terms."""
    shape, weights = (PICTURES, MAPS, POSITIONS, POSITIONS), (MAPS, MAPS, 3, 3)
    operations = 2.0 * MAPS * MAPS * 9 * PICTURES * POSITIONS**2
    return _model("Conv", shape, weights, shape, pads=[1, 1, 1, 1]), shape, operations


def weight_reading() -> tuple[bytes, tuple[int, ...], float]:
    """Return a product of one vector with a large matrix: the model, its input's shape, and the matrix's bytes."""
    return _model("MatMul", (1, ROWS), (ROWS, COLUMNS), (1, COLUMNS)), (1, ROWS), 4.0 * ROWS * COLUMNS


def limit_subjects(backend: str, options: BackendOptions, precision: str = "fp32") -> dict[str, Subject]:
    """Return the limits of the runtime of a CPU backend, none for other backends.

    `convolution` and `matrix product` count operations, `weights` bytes.
    """
    openers: dict[str, Callable[[bytes, BackendOptions, str], Callable[[npt.NDArray[Any]], object]]] = {
        "onnxruntime-cpu": _onnxruntime,
        "openvino-cpu": _openvino,
    }
    if backend not in openers:
        return {}
    made = {"convolution": convolution(), "matrix product": matrix_product(), "weights": weight_reading()}
    subjects = {}
    for name, (model, shape, work) in made.items():
        run, x = openers[backend](model, options, precision), np.ones(shape, dtype=np.float32)
        subjects[name] = Subject(f"{backend}, {name}", lambda run=run, x=x: run(x), work)  # type: ignore[misc]
    return subjects


def _onnxruntime(model: bytes, options: BackendOptions, precision: str) -> Callable[[npt.NDArray[Any]], object]:
    """Return what runs a graph as the backend does."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options.threads or 0
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})


def _openvino(model: bytes, options: BackendOptions, precision: str) -> Callable[[npt.NDArray[Any]], object]:
    """Return what runs a graph as the backend does, in the same arithmetic."""
    import openvino as ov

    from alexnet.runtime.backends.openvino import PRECISIONS

    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS.get(precision, "f32"),
        "PERFORMANCE_HINT": "LATENCY",
    }
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = options.threads
    request = ov.Core().compile_model(ov.Core().read_model(model), "CPU", settings).create_infer_request()
    return lambda x: request.infer({0: x}, share_inputs=True, share_outputs=True)
