from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from alexnet import ops
from alexnet.errors import MissingPackageError

Array = npt.NDArray[Any]
PAPER = {"size": 5, "groups": 2, "alpha": 1e-4, "beta": 0.75, "k": 2.0}


def model(kind: int = TensorProto.FLOAT, inputs: int = 1, **changed: Any) -> onnx.ModelProto:
    """Return a model that is one bare node of the operator."""
    names = ["x", "band", "bias"][:inputs]
    node = helper.make_node(ops.OPERATOR, names, ["y"], domain=ops.DOMAIN, **{**PAPER, **changed})
    taken = [helper.make_tensor_value_info(name, kind, None) for name in names]
    graph = helper.make_graph([node], "norm", taken, [helper.make_tensor_value_info("y", kind, None)])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def session(proto: onnx.ModelProto, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    ops.register(options, proto)
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def expected(x: Array, size: int = 5, groups: int = 2) -> npt.NDArray[np.float64]:
    """The formula with the paper's constants in float64, map by map."""
    wide, out = x.astype(np.float64), np.empty(x.shape)
    for part in np.split(np.arange(x.shape[1]), groups):
        for i in part:
            near = part[abs(part - i) <= size // 2]
            out[:, i] = wide[:, i] / (2.0 + 1e-4 * (wide[:, near] ** 2).sum(axis=1)) ** 0.75
    return out


def values(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 200, shape).astype(np.float32)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "shape", [(1, 2, 1, 1), (3, 6, 33, 33), (2, 96, 55, 55), (2, 4, 16, 32), (0, 4, 3, 3), (1, 4, 0, 3)]
)
def test_blocks_and_threads_leave_nothing_out(shape: tuple[int, ...], threads: int) -> None:
    x = values(*shape)
    (y,) = session(model(), threads).run(None, {"x": x})
    assert y.shape == x.shape
    assert np.allclose(y, expected(x), rtol=2e-6, atol=0)


@pytest.mark.usefixtures("library")
def test_a_small_map_beside_a_large_one_keeps_its_digits() -> None:
    x = values(1, 8, 4, 4)
    x[:, 0] *= 1e4
    (y,) = session(model(size=1)).run(None, {"x": x})
    assert np.allclose(y, expected(x, size=1), rtol=1e-6, atol=0)


@pytest.mark.usefixtures("library")
def test_float16() -> None:
    x = values(2, 8, 9, 9).astype(np.float16)
    (y,) = session(model(TensorProto.FLOAT16)).run(None, {"x": x})
    assert y.dtype == np.float16
    assert np.allclose(y, expected(x), rtol=1e-3, atol=1e-7)


@pytest.mark.usefixtures("library")
def test_the_inputs_of_a_body_are_allowed_and_not_read() -> None:
    x = values(1, 8, 3, 3)
    fed = {"x": x, "band": np.zeros((8, 4, 1, 1), np.float32), "bias": np.zeros(8, np.float32)}
    (y,) = session(model(inputs=3)).run(None, fed)
    assert np.allclose(y, expected(x), rtol=2e-6, atol=0)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("changed", [{"size": 4}, {"size": 0}, {"groups": 0}])
def test_attributes_without_a_meaning_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(Exception, match="expected an odd size and groups of 1 or more"):
        session(model(**changed))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", [(1, 5, 3, 3), (1, 4, 3), (4,)])
def test_other_tensors_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match=r"expected x \[N, C, H, W\], C a multiple of groups"):
        session(model()).run(None, {"x": values(*shape)})


def test_a_library_that_is_not_built_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "LIBRARY", tmp_path / "alexnet_ops.so")
    with pytest.raises(MissingPackageError, match=r"alexnet_ops.so, which is not built.*make ops"):
        session(model())


def test_what_lies_beside_a_model_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto, told = model(), []
    proto.metadata_props.add(key=ops.DIGEST, value="0" * 64)
    onnx.save(proto, tmp_path / "model.onnx")
    (tmp_path / "alexnet_ops.so").write_bytes(b"anything")
    own = tmp_path / "package" / "alexnet_ops.so"
    own.parent.mkdir()
    own.touch()
    monkeypatch.setattr(ops, "LIBRARY", own)
    monkeypatch.chdir(tmp_path)
    options = type("Options", (), {"register_custom_ops_library": lambda self, path: told.append(path)})()
    ops.register(options, onnx.load(tmp_path / "model.onnx"))
    assert told == [str(own)]


def test_a_model_with_a_body_or_without_the_operator_needs_no_library(tmp_path: Path) -> None:
    proto = model()
    assert ops.needs_ops(proto)
    body = helper.make_function(
        ops.DOMAIN,
        ops.OPERATOR,
        ["x"],
        ["y"],
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    proto.functions.append(body)
    assert not ops.needs_ops(proto)
    assert ops.write_ops_library(proto, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_only_the_entry_point_is_visible(library: Path) -> None:
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1] for line in listed.splitlines() if line.split()[-2] == "T"]
    assert names == ["RegisterCustomOps"]
