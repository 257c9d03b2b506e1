from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet.errors import DeviceError, InputError, SidecarError
from alexnet.runtime.backends.tensorrt_refit import Weights, refit, weights_of
from alexnet.sidecar import Sidecar
from tests.runtime.backends.test_tensorrt import write_plan


def stripped(model: Path) -> Sidecar:
    plan = write_plan(model.parent)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    return replace(Sidecar.load(plan), options={"strip_weights": True}, onnx_sha256=digest, onnx_name=model.name)


def test_only_a_plan_without_weights_needs_its_model(model: Path, tmp_path: Path) -> None:
    plan, sidecar = tmp_path / "model.plan", stripped(model)
    assert weights_of(replace(sidecar, options={}), plan, None) is None
    assert weights_of(sidecar, plan, None) == Weights(model, sidecar.onnx_sha256)
    moved = model.rename(tmp_path / "moved.onnx")
    with pytest.raises(
        InputError, match=r"model\.onnx, is not there; copy it beside the plan, or name it with: --like"
    ):
        weights_of(sidecar, plan, None)
    assert weights_of(sidecar, plan, moved) == Weights(moved, sidecar.onnx_sha256)


def test_another_model_than_the_plans_is_refused(model: Path, tmp_path: Path) -> None:
    sidecar = replace(stripped(model), onnx_sha256="0" * 64)
    with pytest.raises(SidecarError, match=r"was built of 000000000000.*build it again with: alexnet build"):
        weights_of(sidecar, tmp_path / "model.plan", None)


@pytest.mark.parametrize(("parsed", "taken"), [(True, True), (False, True), (True, False)])
def test_the_engine_takes_its_weights_or_the_reason_is_given(parsed: bool, taken: bool) -> None:
    asked: list[str] = []

    def parser(refitter: Any, log: Any) -> Any:
        return SimpleNamespace(refit_from_file=lambda path: asked.append(path) or parsed)

    trt = SimpleNamespace(
        Refitter=lambda engine, log: SimpleNamespace(refit_cuda_engine=lambda: taken), OnnxParserRefitter=parser
    )
    log, weights = SimpleNamespace(last=lambda: "a reason"), Weights(Path("model.onnx"), "0" * 64)
    if parsed and taken:
        refit(trt, object(), log, weights, Path("model.plan"))
        assert asked == ["model.onnx"]
        return
    with pytest.raises(DeviceError, match=r"model\.plan does not take its weights from model\.onnx \(a reason\)"):
        refit(trt, object(), log, weights, Path("model.plan"))


def test_the_calls_exist_in_the_installed_module() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    assert hasattr(trt.OnnxParserRefitter, "refit_from_file")
    assert hasattr(trt.Refitter, "refit_cuda_engine")
