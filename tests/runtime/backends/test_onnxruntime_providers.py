"""What ONNX Runtime gives is looked at, with a stand-in for its session: there need be no GPU here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet.errors import DeviceError, ModelError
from alexnet.gpu import Gpu, GpuSearch
from alexnet.runtime.backends import BackendOptions, choice, onnxruntime, open_backend

CPU, CUDA, TENSORRT = onnxruntime.CPU, onnxruntime.CUDA, onnxruntime.TENSORRT


class Session:
    """A session that gives the providers and the assignment of nodes it is told, and remembers what it was asked."""

    asked: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    nodes: dict[str, int]

    def get_providers(self) -> list[str]:
        return list(self.given)

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="pictures")]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda number=number: [None] * number)
            for name, number in self.nodes.items()
        ]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A machine with a GPU, whose ONNX Runtime gives what the returned session says."""
    session = Session()

    def make(source: Any, settings: Any, providers: list[tuple[str, dict[str, str]]]) -> Session:
        session.asked = tuple(name for name, _ in providers)
        session.options = dict(providers)  # type: ignore[attr-defined]
        try:
            session.strict = settings.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"  # type: ignore[attr-defined]
        except RuntimeError:
            session.strict = False  # type: ignore[attr-defined]
        return session

    monkeypatch.setattr(choice, "missing", lambda info: "")
    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", make)
    monkeypatch.setattr(onnxruntime.ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "find_gpus", lambda: GpuSearch((Gpu("NVIDIA H200", "9.0", "13.0"),), "one"))
    return session


def test_cuda_that_was_given_is_named_with_its_gpu(model: Path, machine: Session) -> None:
    machine.given, machine.nodes = (CUDA, CPU), {CUDA: 4}
    backend = open_backend(model, BackendOptions(name="onnxruntime-cuda"))
    assert (backend.name, backend.device, backend.precision) == ("onnxruntime-cuda", "NVIDIA H200", "fp32")
    assert machine.asked == (CUDA,)
    assert machine.strict  # type: ignore[attr-defined]
    assert machine.options[CUDA]["use_tf32"] == "0"  # type: ignore[attr-defined]


def test_another_provider_is_an_error_unless_the_cpu_is_allowed(model: Path, machine: Session) -> None:
    machine.given, machine.nodes = (CPU,), {CPU: 4}
    with pytest.raises(DeviceError, match=rf"on {CPU}, expected {CUDA}; .*--allow-cpu"):
        open_backend(model, BackendOptions(name="onnxruntime-cuda"))
    backend = open_backend(model, BackendOptions(name="onnxruntime-cuda", allow_cpu=True))
    assert (backend.name, backend.device) == ("onnxruntime-cpu", "CPU")
    assert machine.asked == (CUDA, CPU)
    assert not machine.strict  # type: ignore[attr-defined]


def test_single_nodes_on_the_cpu_are_an_error_and_counted_where_allowed(model: Path, machine: Session) -> None:
    machine.given, machine.nodes = (CUDA, CPU), {CUDA: 3, CPU: 1}
    with pytest.raises(DeviceError, match=r"runs 1 nodes of .* on the CPU"):
        open_backend(model, BackendOptions(name="onnxruntime-cuda"))
    backend = open_backend(model, BackendOptions(name="onnxruntime-cuda", allow_cpu=True))
    assert backend.device == f"NVIDIA H200 (1 nodes by {CPU})"


def test_the_tensorrt_provider_keeps_what_it_compiles(model: Path, machine: Session, tmp_path: Path) -> None:
    machine.given, machine.nodes = (TENSORRT, CUDA, CPU), {TENSORRT: 3, CUDA: 1}
    backend = open_backend(model, BackendOptions(name="onnxruntime-tensorrt", cache=tmp_path / "cache"))
    assert machine.asked == (TENSORRT, CUDA)
    assert (backend.name, backend.device) == ("onnxruntime-tensorrt", f"NVIDIA H200 (1 nodes by {CUDA})")
    options = machine.options[TENSORRT]  # type: ignore[attr-defined]
    assert options["trt_engine_cache_enable"] == "1"
    assert Path(options["trt_engine_cache_path"]).is_dir()
    assert tmp_path / "cache" in Path(options["trt_engine_cache_path"]).parents


def test_another_precision_than_the_models_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match=r"computes in fp32 .*--precision bf16, or give --backend openvino-cpu"):
        open_backend(model, BackendOptions(name="onnxruntime-cpu", precision="bf16"))
