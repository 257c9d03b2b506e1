"""The parity pack run through a plan: the engine is played by the ONNX model that it would be built of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.errors import DeviceError, ParityError
from alexnet.gpu import Gpu, GpuSearch
from alexnet.parity import parity_pack_beside
from alexnet.runtime import check, verify
from alexnet.runtime.backends import Backend, BackendOptions, open_backend
from alexnet.runtime.verify import verify_on_first_use, verify_plan
from alexnet.sidecar import Sidecar, sidecar_beside
from tests.runtime.backends.test_tensorrt import write_plan
from tests.runtime.conftest import colour_model


@pytest.fixture
def plan(model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan that is opened as its model; the model and its pack stand beside it."""
    path = write_plan(model.parent)

    def opened(asked: Path, options: BackendOptions) -> Backend:
        return open_backend(model if asked == path else asked, options)

    monkeypatch.setattr(check, "open_backend", opened)
    return path


def test_the_figures_come_from_the_plan(plan: Path, model: Path) -> None:
    found = verify_plan(plan, parity_pack_beside(plan), model)
    assert found.verified
    assert found.parity["pictures"] == 11
    assert found.parity["largest"] < 1e-6
    assert "in 11 pictures (tolerance 0.0001), 100.0% of which keep their best class, on CPU" in found.reason


def test_a_plan_past_its_tolerance_is_refused_and_names_the_check(plan: Path, model: Path) -> None:
    colour_model(model, gain=0.06)
    with pytest.raises(
        ParityError, match=r"the plan is refused: built of .*see whether the model itself holds"
    ) as found:
        verify_plan(plan, parity_pack_beside(plan), model)
    assert found.value.exit_code == 6


def test_the_first_use_verifies_and_records_and_the_second_does_not(plan: Path, model: Path) -> None:
    said: list[str] = []
    verify_on_first_use(plan, BackendOptions(), said.append)
    assert [text.startswith(f"{plan}: verified on first use: differs") for text in said] == [True]
    sidecar = Sidecar.load(plan)
    assert sidecar.verified
    assert sidecar.parity["pictures"] == 11
    verify_on_first_use(plan, BackendOptions(), said.append)
    assert len(said) == 1


def test_a_failed_first_use_records_nothing(plan: Path, model: Path) -> None:
    colour_model(model, gain=0.06)
    before = sidecar_beside(plan).read_bytes()
    with pytest.raises(ParityError):
        verify_on_first_use(plan, BackendOptions(), print)
    assert sidecar_beside(plan).read_bytes() == before


def test_a_sidecar_that_cannot_be_written_is_a_warning(
    plan: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sidecar: Sidecar, path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    said: list[str] = []
    monkeypatch.setattr(Sidecar, "save", refuse)
    verify_on_first_use(plan, BackendOptions(), said.append)
    assert "warning: the result is not kept" in said[-1]


def test_a_check_of_a_plan_is_recorded_and_a_failed_one_takes_the_proof_away(
    plan: Path, model: Path, run_cli: Callable[..., Result]
) -> None:
    done = run_cli("check", plan)
    assert done.exit_code == 0, done.output
    assert Sidecar.load(plan).verified
    colour_model(model, gain=0.06)
    done = run_cli("check", plan)
    assert done.exit_code == 6, done.output
    sidecar = Sidecar.load(plan)
    assert not sidecar.verified
    assert "differs from the training model by 0." in sidecar.verified_reason
    with pytest.raises(ParityError):
        verify_on_first_use(plan, BackendOptions(), print)


def test_a_check_leaves_a_model_without_a_sidecar_alone(plan: Path, model: Path) -> None:
    before = sidecar_beside(plan).read_bytes()
    verify.record_check(check.examine_model(model), print)
    assert sidecar_beside(plan).read_bytes() == before
    assert not sidecar_beside(model).exists()


def test_a_pack_under_the_models_name_is_found_too(plan: Path, model: Path) -> None:
    parity_pack_beside(model).rename(model.with_name("other.parity.safetensors"))
    sidecar = replace(Sidecar.load(plan), onnx_name="other.onnx")
    sidecar.save(sidecar_beside(plan))
    verify_on_first_use(plan, BackendOptions(), print)
    assert Sidecar.load(plan).verified


def test_without_a_pack_a_machine_with_a_gpu_is_told(plan: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parity_pack_beside(model).unlink()
    said: list[str] = []
    verify_on_first_use(plan, BackendOptions(), said.append)
    assert said == []
    monkeypatch.setattr(verify, "find_gpus", lambda: GpuSearch((Gpu("NVIDIA RTX 4090", "8.9", "13.0"),), "one"))
    verify_on_first_use(plan, BackendOptions(), said.append)
    assert "its parity pack model.parity.safetensors is not beside it" in said[0]
    assert not Sidecar.load(plan).verified


def test_models_are_left_alone(model: Path) -> None:
    verify_on_first_use(model, BackendOptions(), print)
    verify_on_first_use(model.with_name("absent.plan"), BackendOptions(), print)


def test_infer_verifies_before_the_first_picture(tmp_path: Path, model: Path, images: Path) -> None:
    from alexnet.gpu import find_gpus
    from alexnet.runtime.session import InferOptions, infer_paths

    rtx = pytest.importorskip("tensorrt_rtx")
    if find_gpus().gpus:
        pytest.skip("there is a GPU here")
    plan = write_plan(tmp_path, tensorrt_version=str(rtx.__version__))
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        infer_paths([plan], [str(images)], InferOptions(), BackendOptions())
