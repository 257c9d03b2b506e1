from __future__ import annotations

from pathlib import Path

import pytest

from alexnet.errors import DeviceError, MissingPackageError, ModelError
from alexnet.runtime.backends import BackendOptions, choice, choose_backend, open_backend
from alexnet.runtime.backends.table import BackendInfo

ALL = ("onnxruntime-cuda", "onnxruntime-cpu", "openvino-cpu", "onnxruntime-tensorrt")


def only(monkeypatch: pytest.MonkeyPatch, *usable: str) -> None:
    def missing(info: BackendInfo) -> str:
        return "" if info.name in usable else "there is none here"

    monkeypatch.setattr(choice, "missing", missing)


@pytest.mark.parametrize(
    ("usable", "chosen"), [(ALL, "onnxruntime-cuda"), (ALL[1:], "onnxruntime-cpu"), (ALL[2:], "openvino-cpu")]
)
def test_the_first_usable_one_is_taken_and_says_why(
    model: Path, monkeypatch: pytest.MonkeyPatch, usable: tuple[str, ...], chosen: str
) -> None:
    only(monkeypatch, *usable)
    found = choose_backend(model)
    assert found.info.name == chosen
    assert [name for name in ALL[:3] if f"{name}, there is none here" in found.reason] == [
        name for name in ALL if name not in usable
    ]


def test_another_precision_leaves_those_that_can_choose_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, *ALL)
    assert choose_backend(model, BackendOptions(precision="bf16")).info.name == "openvino-cpu"


def test_where_none_is_usable_the_commands_are_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    with pytest.raises(MissingPackageError, match=r"no backend for .*\[cpu\].* or .*\[openvino\]"):
        choose_backend(model)


def test_a_provider_that_is_not_there_is_an_error_unless_the_cpu_is_allowed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "onnxruntime-cpu")
    with pytest.raises(DeviceError, match=r"onnxruntime-cuda was asked for .*there is none here.*--allow-cpu"):
        open_backend(model, BackendOptions(name="onnxruntime-cuda"))
    said: list[str] = []
    backend = open_backend(model, BackendOptions(name="onnxruntime-cuda", allow_cpu=True), said.append)
    assert (backend.name, backend.device) == ("onnxruntime-cpu", "CPU")
    assert "--allow-cpu, in place of onnxruntime-cuda: there is none here" in said[0]


def test_a_missing_package_is_named_with_its_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "missing", lambda info: "openvino not installed")
    with pytest.raises(MissingPackageError, match=r"the package openvino, which .*\[openvino\]"):
        open_backend(model, BackendOptions(name="openvino-cpu"))


def test_backends_that_do_not_read_the_file_are_refused(model: Path) -> None:
    with pytest.raises(ModelError, match=r"tensorrt reads .plan and .engine, not .*--backend onnxruntime-cuda, onnx"):
        choose_backend(model, BackendOptions(name="tensorrt"))
    with pytest.raises(ModelError, match="there is no backend 'abacus', expected one of onnxruntime-cuda"):
        choose_backend(model, BackendOptions(name="abacus"))
