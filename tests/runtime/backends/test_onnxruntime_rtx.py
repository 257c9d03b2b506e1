"""The TensorRT-RTX provider of ONNX Runtime, with a stand-in for its plugin: there need be no GPU here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from alexnet.errors import DeviceError, MissingPackageError
from alexnet.runtime.backends import BackendOptions, choice, onnxruntime, onnxruntime_rtx, open_backend
from alexnet.runtime.backends.onnxruntime import CPU, RTX


class Plugin:
    """ONNX Runtime with a plugin: what it was asked, and how many cards it finds."""

    def __init__(self) -> None:
        self.cards, self.registered, self.compiled, self.opened = 1, 0, 0, list[str]()
        self.given, self.nodes, self.fault = (RTX, CPU), {RTX: 5}, ""

    def register(self, name: str, library: str) -> None:
        if self.fault:
            raise RuntimeError(self.fault)
        assert (name, library) == (RTX, "plugin.so")
        self.registered += 1

    def devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=RTX)] * (self.cards if self.registered else 0)

    def session(self, source: str, settings: Any) -> Any:
        self.opened.append(Path(source).read_text())
        parts = [
            SimpleNamespace(ep_name=name, get_nodes=lambda number=number: [None] * number)
            for name, number in self.nodes.items()
        ]
        return SimpleNamespace(
            get_providers=lambda: list(self.given),
            get_inputs=lambda: [SimpleNamespace(name="pictures")],
            get_provider_graph_assignment_info=lambda: parts,
        )

    def compiler(self, settings: Any, source: Any, embed_compiled_data_into_model: bool) -> Any:
        assert embed_compiled_data_into_model

        def compile_to_file(path: str) -> None:
            self.compiled += 1
            Path(path).write_text(f"context {self.compiled}")

        return SimpleNamespace(compile_to_file=compile_to_file)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """A machine with the plugin's package and a card."""
    made, package = Plugin(), ModuleType(onnxruntime_rtx.PACKAGE)
    package.get_ep_name = lambda: RTX  # type: ignore[attr-defined]
    package.get_library_path = lambda: "plugin.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, onnxruntime_rtx.PACKAGE, package)
    monkeypatch.setattr(choice, "missing", lambda info: "")
    monkeypatch.setattr(ort, "register_execution_provider_library", made.register)
    monkeypatch.setattr(ort, "get_ep_devices", made.devices)
    monkeypatch.setattr(ort, "InferenceSession", made.session)
    monkeypatch.setattr(ort, "ModelCompiler", made.compiler)
    monkeypatch.setattr(ort.SessionOptions, "add_provider_for_devices", lambda *arguments: None)
    monkeypatch.setattr(onnxruntime, "_gpu_name", lambda number: "NVIDIA RTX 4090")
    return made


def options(folder: Path, **changes: Any) -> BackendOptions:
    return BackendOptions(name="onnxruntime-tensorrt-rtx", cache=folder / "cache", **changes)


def test_what_was_compiled_is_opened_the_next_time(model: Path, plugin: Plugin, tmp_path: Path) -> None:
    for _ in range(2):
        backend = open_backend(model, options(tmp_path))
    assert (backend.name, backend.device) == ("onnxruntime-tensorrt-rtx", "NVIDIA RTX 4090")
    assert (plugin.registered, plugin.compiled, plugin.opened) == (1, 1, ["context 1", "context 1"])
    (folder,) = (tmp_path / "cache").iterdir()
    assert len(list(folder.iterdir())) == 1
    model.write_bytes(model.read_bytes() + b"\x32\x00")
    open_backend(model, options(tmp_path))
    assert plugin.opened[-1] == "context 2"


def test_nodes_on_the_cpu_are_an_error_unless_allowed(model: Path, plugin: Plugin, tmp_path: Path) -> None:
    plugin.nodes = {RTX: 3, CPU: 2}
    with pytest.raises(DeviceError, match=r"runs 2 nodes of .* on the CPU"):
        open_backend(model, options(tmp_path))
    device = open_backend(model, options(tmp_path, allow_cpu=True)).device
    assert device == f"NVIDIA RTX 4090 (2 nodes by {CPU})"


def test_another_provider_is_an_error(model: Path, plugin: Plugin, tmp_path: Path) -> None:
    plugin.given = (CPU,)
    with pytest.raises(DeviceError, match=f"on {CPU}, expected {RTX}"):
        open_backend(model, options(tmp_path))


def test_no_card_or_no_such_card_names_other_backends(model: Path, plugin: Plugin, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"number 1 was asked for and it finds 1 of them; .*onnxruntime-cuda"):
        open_backend(model, options(tmp_path, gpu=1))
    plugin.cards = 0
    with pytest.raises(DeviceError, match=r"it finds none; .*--backend onnxruntime-cpu"):
        open_backend(model, options(tmp_path))


def test_a_library_that_cannot_be_loaded_is_one_line(model: Path, plugin: Plugin, tmp_path: Path) -> None:
    plugin.fault = "libcuda.so.1: cannot open\nshared object file"
    with pytest.raises(
        DeviceError, match=r"cannot load the plugin of .*cannot open shared object file; see alexnet"
    ) as found:
        open_backend(model, options(tmp_path))
    assert found.value.exit_code == 8


def test_without_the_package_the_extra_is_named(model: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, onnxruntime_rtx.PACKAGE, None)
    with pytest.raises(MissingPackageError, match=r"\[rtx-provider\]"):
        open_backend(model, BackendOptions(name="onnxruntime-tensorrt-rtx"))
