from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import Result

from alexnet.errors import BuildError, DeviceError, SidecarError
from alexnet.export import engine, tensorrt_module
from alexnet.export.build_options import BuildOptions, parse_batch
from alexnet.export.engine import engine_from_onnx
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.export.tensorrt_module import check_options, choose_target, parse_compute
from alexnet.gpu import Gpu, GpuSearch
from alexnet.sidecar import Profile, Sidecar, sidecar_beside

Cli = Callable[..., Result]
rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: extra rtx, Linux or Windows on x86-64")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_source: Source, pictures: npt.NDArray[np.uint8]) -> Path:
    path = tmp_path_factory.mktemp("engine") / "model.onnx"
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], path)
    return path


def test_a_real_engine_with_its_sidecar(model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "net.plan"
    sidecar = engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 4, 16), ("sm89", "sm120")))
    assert plan.stat().st_size == sidecar.plan_bytes > 100_000
    assert sidecar.plan_sha256 == hashlib.sha256(plan.read_bytes()).hexdigest()
    assert sidecar.onnx_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (sidecar.module, sidecar.tensorrt_version) == ("tensorrt_rtx", rtx.__version__)
    assert sidecar.compute_capabilities == ("8.9", "12.0")
    assert sidecar.profile == Profile(1, 4, 16)
    assert sidecar.metadata.labels[0] == "thing 0"
    assert not sidecar.verified
    assert "alexnet check net.plan" in sidecar.verified_reason
    assert Sidecar.load(plan) == sidecar
    sidecar.check_digest(plan)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.parity.safetensors", "net.plan", "net.plan.json"]


def test_the_plan_is_what_the_compiler_made_and_nothing_else(model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "net.plan"
    engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 2), ("sm89",)))
    data = plan.read_bytes()
    assert b"thing 0" not in data
    assert b"plan_sha256" not in data


def test_a_changed_plan_is_caught_by_its_digest(model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "net.plan"
    sidecar = engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 2), ("sm89",)))
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(SidecarError, match=r"build it again with: alexnet build model.onnx"):
        sidecar.check_digest(plan)


def test_what_the_compiler_cannot_do_is_one_line_with_the_change(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="leave sm75 out of --compute"):
        engine_from_onnx(model, tmp_path / "net.plan", "rtx", BuildOptions(Profile(1, 1, 2), ("sm75",)))
    with pytest.raises(BuildError, match=r"does not build for sm90, it takes .*sm89.*--target gpu"):
        engine_from_onnx(model, tmp_path / "net.plan", "rtx", BuildOptions(Profile(1, 1, 2), ("sm90",)))
    assert not list(tmp_path.iterdir())


def test_an_operator_the_parser_does_not_know_is_named(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    node = next(node for node in proto.graph.node if node.name == "relu3")
    node.op_type, node.domain = "Wobble", "somebody"
    proto.opset_import.append(onnx.helper.make_opsetid("somebody", 1))
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(BuildError, match=r"parser refuses node 'relu3' \(Wobble\) of .*odd.onnx"):
        engine_from_onnx(tmp_path / "odd.onnx", tmp_path / "odd.plan", "rtx", BuildOptions(Profile(1, 1, 2), ("sm89",)))
    assert not (tmp_path / "odd.plan").exists()


def test_the_command_says_which_target_and_why(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    plan = tmp_path / "net.plan"
    result = run_cli("build", model, "-o", plan, "--target", "rtx", "--compute", "sm89", "--batch", "4")
    assert result.exit_code == 0, result.output
    assert "target rtx: asked for" in result.output
    assert "verified: no" in result.output
    assert json.loads(sidecar_beside(plan).read_text())["profile"] == {"smallest": 4, "best": 4, "largest": 4}


def test_files_that_are_no_model(tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    identity = onnx.helper.make_node("Identity", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([identity], "g", ends[:1], ends[1:])), tmp_path / "other.onnx"
    )
    for name, code, words in (
        ("absent.onnx", 3, "does not exist"),
        ("text.onnx", 5, "is not an ONNX model"),
        ("empty.onnx", 5, "it has no bytes"),
        ("other.onnx", 5, "without this toolchain's metadata"),
    ):
        result = run_cli("build", tmp_path / name, "--target", "rtx")
        assert (result.exit_code, words in result.output) == (code, True), result.output


@pytest.mark.parametrize("text", ["", "0,1,2", "4,2,8", "1,2", "a,b,c"])
def test_a_profile_that_does_not_rise_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match="expected MIN,OPT,MAX"):
        parse_batch(text)


def test_profiles_and_capabilities_are_read() -> None:
    assert parse_batch("1,8,32") == Profile(1, 8, 32)
    assert parse_compute("SM89, sm120") == ("sm89", "sm120")
    with pytest.raises(BuildError, match="no compute capability"):
        parse_compute("ada")


H200 = GpuSearch((Gpu("NVIDIA H200", "9.0", "13.0"),), "1 NVIDIA GPU(s), the first is NVIDIA H200")
NONE = GpuSearch((), "no NVIDIA driver is installed")


@pytest.mark.parametrize(
    ("search", "installed", "target", "reason"),
    [
        (H200, True, "gpu", "NVIDIA H200"),
        (H200, False, "rtx", "tensorrt is not installed"),
        (NONE, True, "rtx", "no NVIDIA driver"),
    ],
)
def test_the_default_target_is_gpu_where_one_is(
    monkeypatch: pytest.MonkeyPatch, search: GpuSearch, installed: bool, target: str, reason: str
) -> None:
    monkeypatch.setattr(tensorrt_module, "find_gpus", lambda: search)
    monkeypatch.setattr(tensorrt_module.importlib.util, "find_spec", lambda name: object() if installed else None)
    choice = choose_target(None)
    assert choice.target == target
    assert reason in choice.reason


def test_target_gpu_without_one_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_module, "find_gpus", lambda: NONE)
    with pytest.raises(DeviceError, match="--target rtx"):
        choose_target("gpu")


def test_the_plan_never_replaces_its_model_or_a_folder(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    before = model.read_bytes()
    same = run_cli("build", model, "-o", model, "--target", "rtx", "--compute", "sm89")
    assert (same.exit_code, "is the model itself" in same.output) == (3, True), same.output
    folder = run_cli("build", model, "-o", tmp_path, "--target", "rtx", "--compute", "sm89")
    assert (folder.exit_code, "is a folder" in folder.output) == (3, True), folder.output
    assert run_cli("build", tmp_path, "--target", "rtx").output.count("is a folder, not a model") == 1
    assert model.read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_a_failed_build_leaves_the_old_engine_usable(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    plan = tmp_path / "net.plan"
    sidecar = engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 2), ("sm89",)))
    monkeypatch.setattr(engine, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 4), ("sm89",)))
    assert Sidecar.load(plan) == sidecar
    sidecar.check_digest(plan)


def test_stopped_between_plan_and_sidecar_the_plan_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(files: list[Path], folder: Path) -> None:
        published([file for file in files if file.suffix == ".plan"], folder)
        raise KeyboardInterrupt

    plan = tmp_path / "net.plan"
    engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 2), ("sm89",)))
    published = engine.publish
    monkeypatch.setattr(engine, "publish", stop)
    with pytest.raises(KeyboardInterrupt):
        engine_from_onnx(model, plan, "rtx", BuildOptions(Profile(1, 1, 64), ("sm89",)))
    with pytest.raises(SidecarError, match="build it again"):
        Sidecar.load(plan).check_digest(plan)


def test_compute_is_for_rtx_only_and_names_count_once() -> None:
    assert parse_compute("sm89,sm120,sm89") == ("sm89", "sm120")
    with pytest.raises(BuildError, match="no meaning for --target gpu"):
        check_options("gpu", BuildOptions(compute=("sm90",)))
    with pytest.raises(BuildError, match="no compute capability"):
        parse_compute("")


def test_a_bare_operator_is_refused_with_the_lowering_that_works(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    values = json.loads(next(entry.value for entry in proto.metadata_props if entry.key == "alexnet"))
    onnx.helper.set_model_props(proto, {"alexnet": json.dumps({**values, "lrn": "plugin"})})
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(BuildError, match=r"takes no plugins.*--lrn conv \(or function\)"):
        engine_from_onnx(tmp_path / "bare.onnx", tmp_path / "bare.plan", "rtx")


def test_a_function_is_inlined(tiny_source: Source, pictures: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], path, ExportOptions(lrn="function"))
    sidecar = engine_from_onnx(path, tmp_path / "model.plan", "rtx", BuildOptions(Profile(1, 2, 4), ("sm89",)))
    assert sidecar.plan_bytes > 100_000


@pytest.mark.gpu
def test_the_plugin_runs_in_an_engine(
    tiny_source: Source, pictures: npt.NDArray[np.uint8], tmp_path: Path, library: Path, run_cli: Cli
) -> None:
    path, plan = tmp_path / "model.onnx", tmp_path / "model.plan"
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], path, ExportOptions(lrn="plugin"))
    engine_from_onnx(path, plan, "gpu", BuildOptions(Profile(1, 4, 32)))
    checked = run_cli("check", plan)
    assert checked.exit_code == 0, checked.output
