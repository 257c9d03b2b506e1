from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from alexnet.errors import BuildError, InputError, Interrupted, ParityError
from alexnet.export.build_options import BuildOptions
from alexnet.gpu import Gpu, GpuSearch
from alexnet.parity import ParityPack, parity_pack_beside
from alexnet.reproduce import all_lowerings
from alexnet.reproduce.all_lowerings import Candidate, build_all_lowerings, chosen, table
from alexnet.sidecar import Sidecar, Verification, sidecar_beside
from tests.export.conftest import TINY, random_pictures, random_source, write_run
from tests.runtime.backends.test_tensorrt import write_plan
from tests.runtime.conftest import CHECKPOINT, colour_model, expected

Cli = Callable[..., Result]
H200 = GpuSearch((Gpu("NVIDIA H200", "9.0", "13.0"),), "1 NVIDIA GPU(s), the first is NVIDIA H200")
# Seconds that each form takes on a GPU that is only said to be there.
SECONDS = {"conv": 0.02, "native": 0.01, "function": 0.03, "plugin": 0.005}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "a", random_source(TINY))


def test_without_a_gpu_nothing_is_timed_and_the_default_form_is_kept(run: Path, tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("tensorrt_rtx")
    plan = tmp_path / "out" / "net.plan"
    switches = ("--target", "rtx", "--compute", "sm89", "--opt-level", "0", "--quiet")
    result = run_cli("build", "--all-lowerings", run, "-o", plan, *switches)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    built = [line[:2] for line in lines if line[-5:-1] == ["not", "timed", "not", "run"] or "timed" in line[4:7]]
    assert len(built) == 9
    assert sum("refused:" in line for line in lines) == 3
    assert "nothing was timed: " in result.output
    assert "kept the default form, LRN conv, plain stem" in result.output
    sidecar = Sidecar.load(plan)
    sidecar.check_digest(plan)
    assert (sidecar.metadata.lrn, sidecar.metadata.stem, sidecar.onnx_name) == ("conv", "plain", "net.onnx")
    assert {path.name for path in plan.parent.iterdir()} == {
        "net.onnx",
        "net.parity.safetensors",
        "net.plan",
        "net.plan.json",
        "net.proof.md",
    }


def build(model: Path, plan: Path, *rest: Any) -> Sidecar:
    """Play the builder: the plugin is refused, the native lowering is not the trained model."""
    from alexnet.export.engine import read_model

    metadata = read_model(model).metadata
    if metadata.lrn == "plugin":
        raise BuildError("takes no plugins")
    if (metadata.lrn, metadata.stem) == ("native", "shared"):
        raise ParityError("the plan is refused")
    made = write_plan(plan.parent, metadata=metadata, onnx_name=model.name)
    sidecar = Sidecar.load(made).proven(Verification(True, "differs by 1e-7", {"largest": 1e-7}))
    made.rename(plan)
    sidecar.save(sidecar_beside(plan))
    return sidecar


def test_the_fastest_that_passes_parity_is_kept(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(plan: Path, sidecar: Sidecar) -> float:
        return SECONDS[sidecar.metadata.lrn] * (0.5 if sidecar.metadata.stem == "shared" else 1.0)

    monkeypatch.setattr(all_lowerings, "engine_from_onnx", build)
    monkeypatch.setattr(all_lowerings, "_batch_seconds", seconds)
    said: list[str] = []
    best = build_all_lowerings(run, tmp_path / "net.plan", "gpu", BuildOptions(), said.append)
    # native-shared would be faster than both, but is not the trained model.
    assert (best.lrn, best.stem) in {("native", "plain"), ("native", "deep"), ("conv", "shared")}
    assert best.seconds == 0.01
    assert any("kept the fastest of 8: " in text for text in said)
    assert Sidecar.load(tmp_path / "net.plan").metadata.lrn == best.lrn
    rows = said[0].splitlines()
    assert sum("refused: the plan is refused" in row for row in rows) == 1
    assert any(row.split()[:2] == ["conv", "shared"] and "800" in row and "1e-07" in row for row in rows)


def test_ctrl_c_stops_all_of_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: Any) -> Sidecar:
        raise Interrupted("stopped")

    monkeypatch.setattr(all_lowerings, "engine_from_onnx", stopped)
    with pytest.raises(Interrupted):
        build_all_lowerings(run, tmp_path / "new" / "net.plan", "rtx", BuildOptions(), print)
    assert not list((tmp_path / "new").iterdir())


def test_the_clock_runs_only_where_the_plan_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_plan(tmp_path)
    monkeypatch.setattr(all_lowerings, "find_gpus", lambda: H200)
    assert all_lowerings._batch_seconds(plan, Sidecar.load(plan)) is None
    monkeypatch.setattr(all_lowerings, "find_gpus", lambda: GpuSearch((), "none"))
    assert all_lowerings._batch_seconds(plan, Sidecar.load(plan)) is None


def test_the_median_batch_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet.runtime.backends import open_backend

    colour_model(tmp_path / "model.onnx")
    plan, pictures = write_plan(tmp_path), random_pictures(5, 24)
    pack = ParityPack(pictures, expected(pictures), list("abcde"), CHECKPOINT)
    pack.save(parity_pack_beside(plan))
    monkeypatch.setattr(
        all_lowerings, "find_gpus", lambda: replace(H200, gpus=(replace(H200.gpus[0], capability="8.9"),))
    )
    monkeypatch.setattr(all_lowerings, "open_backend", lambda path, options: open_backend(options.like))
    seconds = all_lowerings._batch_seconds(plan, Sidecar.load(plan))
    assert seconds is not None
    assert seconds > 0


def test_what_cannot_be_tried_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exports from a run"):
        build_all_lowerings(tmp_path / "model.onnx", None, "rtx", BuildOptions(), print)
    with pytest.raises(BuildError, match=r"exports in fp32, fp16, bf16, not in int8"):
        build_all_lowerings(run, tmp_path / "net.plan", "rtx", BuildOptions(precision="int8"), print)


def test_refusals_are_rows_and_all_of_them_an_error() -> None:
    refused = [
        Candidate("conv", "plain", Path(), refused="no room"),
        Candidate("native", "plain", Path(), refused="no"),
    ]
    assert table(refused).splitlines()[1].endswith("refused: no room")
    with pytest.raises(BuildError, match="no form of the run could be built: no room; no"):
        chosen(refused)
