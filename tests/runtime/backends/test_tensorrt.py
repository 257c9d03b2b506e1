"""The checks before an engine is deserialised, in their order; running one needs a GPU (marker `gpu`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.errors import DeviceError, MissingPackageError, SidecarError
from alexnet.gpu import Gpu, GpuSearch, find_gpus
from alexnet.runtime.backends import choice
from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.backends.tensorrt import check_device, check_version, import_tensorrt, loader_of
from alexnet.runtime.trusted import trusted_metadata
from alexnet.sidecar import Profile, Sidecar, sidecar_beside
from tests.runtime.conftest import metadata

Cli = Callable[..., Result]
PLAN = b"these are no engine's bytes, and nothing may try to deserialise them"


def write_plan(folder: Path, **changes: object) -> Path:
    plan = folder / "model.plan"
    plan.write_bytes(PLAN)
    sidecar = Sidecar(
        module="tensorrt_rtx",
        tensorrt_version="1.0",
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        plan_bytes=len(PLAN),
        onnx_sha256="0" * 64,
        onnx_name="model.onnx",
        target="rtx",
        compute_capabilities=("8.9", "12.0"),
        gpu_name=None,
        precision="fp32",
        profile=Profile(1, 8, 32),
        input_name="pictures",
        output_name="probabilities",
        verified=False,
        verified_reason="no GPU here",
        metadata=metadata(),
    )
    replace(sidecar, **changes).save(sidecar_beside(plan))  # type: ignore[arg-type]
    return plan


def test_a_missing_damaged_or_strange_sidecar_is_refused_first(tmp_path: Path, run_cli: Cli) -> None:
    plan = write_plan(tmp_path)
    path = sidecar_beside(plan)
    whole = path.read_text()
    values = json.loads(whole)
    without = {key: value for key, value in values.items() if key != "plan_sha256"}
    for text in ("{", "[]", json.dumps({**values, "format": 9}), json.dumps(without), json.dumps({**values, "new": 1})):
        path.write_text(text)
        result = run_cli("check", plan)
        assert result.exit_code == 11, result.output
        assert "build again" in result.stderr
    path.unlink()
    assert "has no sidecar model.plan.json" in run_cli("check", plan).stderr


def test_other_bytes_than_the_sidecars_are_refused(tmp_path: Path, run_cli: Cli) -> None:
    plan = write_plan(tmp_path)
    plan.write_bytes(PLAN + b"!")
    result = run_cli("check", plan)
    assert result.exit_code == 11
    assert "its sidecar says" in result.stderr
    assert "alexnet build model.onnx" in result.stderr


def test_a_sidecar_cannot_name_a_module_of_its_own(tmp_path: Path, run_cli: Cli) -> None:
    result = run_cli("check", write_plan(tmp_path, module="antigravity"))
    assert (result.exit_code, "expected one of tensorrt, tensorrt_rtx" in result.stderr) == (11, True)


def test_a_module_that_is_not_installed_names_its_extra() -> None:
    if __import__("importlib.util").util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    with pytest.raises(MissingPackageError, match=r"tensorrt, which is not installed.*\[gpu\]"):
        import_tensorrt("tensorrt")


def test_another_version_names_both_and_the_command(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    sidecar = Sidecar.load(plan)
    check_version(sidecar, "1.0", plan, "tensorrt_rtx")
    words = r"tensorrt_rtx 1.0: .* tensorrt_rtx 1.7 is installed; .*alexnet build model.onnx --target rtx"
    with pytest.raises(SidecarError, match=words):
        check_version(sidecar, "1.7", plan, "tensorrt_rtx")


def compatible(sidecar: Sidecar, **options: bool) -> Sidecar:
    """Return the sidecar of a plan that tensorrt 10.9 built to run in later versions too."""
    built = {"version_compatible": True, **options}
    return replace(sidecar, module="tensorrt", tensorrt_version="10.9.0.34", options=built)


def test_a_version_compatible_plan_runs_in_later_versions_and_in_no_earlier(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    sidecar = compatible(Sidecar.load(plan))
    for installed in ("10.9.0.34", "10.10.1", "11.4.0.106"):
        check_version(sidecar, installed, plan, "tensorrt_lean")
    with pytest.raises(SidecarError, match=r"later tensorrt_lean is needed, and tensorrt_lean 10.8.1 is installed"):
        check_version(sidecar, "10.8.1", plan, "tensorrt_lean")


def test_the_lean_runtime_loads_what_was_built_for_it_only(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    built = Sidecar.load(plan)
    assert loader_of(compatible(built), plan, None) == "tensorrt"
    assert loader_of(compatible(built), plan, "tensorrt-lean") == "tensorrt_lean"
    with pytest.raises(SidecarError, match="built by tensorrt_rtx, --backend tensorrt-lean was asked for"):
        loader_of(built, plan, "tensorrt-lean")
    with pytest.raises(SidecarError, match="build it again with --version-compatible"):
        loader_of(replace(compatible(built), options={}), plan, "tensorrt-lean")
    with pytest.raises(SidecarError, match="build it again without --strip-weights"):
        loader_of(compatible(built, strip_weights=True), plan, "tensorrt-lean")
    with pytest.raises(SidecarError, match="expected one of tensorrt, tensorrt_rtx"):
        loader_of(replace(built, module="tensorrt_lean"), plan, None)


def test_the_lean_runtime_is_taken_where_tensorrt_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path)
    compatible(Sidecar.load(plan)).save(sidecar_beside(plan))
    for present, name in (({"tensorrt", "tensorrt_lean"}, "tensorrt"), ({"tensorrt_lean"}, "tensorrt-lean")):
        monkeypatch.setattr(choice, "importable", lambda module, present=present: module in present)
        assert choice.choose_backend(plan).info.name == name


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (GpuSearch((), "no NVIDIA driver is installed"), r"needs an NVIDIA GPU: no NVIDIA driver.*--engine model.onnx"),
        (GpuSearch((Gpu("NVIDIA H200", "9.0", "13.0"),), "one"), r"compute capability 8.9, 12.0, NVIDIA H200 has 9.0"),
    ],
)
def test_no_gpu_or_another_capability_is_a_device_error(tmp_path: Path, search: GpuSearch, words: str) -> None:
    plan = write_plan(tmp_path)
    with pytest.raises(DeviceError, match=words) as caught:
        check_device(Sidecar.load(plan), search, plan)
    assert caught.value.exit_code == 8


def test_a_plan_without_a_sidecar_needs_trust_and_the_model_it_was_built_from(
    tmp_path: Path, model: Path, run_cli: Cli
) -> None:
    plan = tmp_path / "bare.engine"
    plan.write_bytes(PLAN)
    found = {}
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    for name, options in (
        ("none", ()),
        ("trust", ("--trust",)),
        ("like", ("--trust", "--like", model)),
        ("flags", ("--trust", "--labels", labels, "--side", "24")),
    ):
        result = run_cli("infer", "--engine", plan, *options, Path(__file__))
        found[name] = (result.exit_code, result.stderr)
    assert found["none"][0] == 11
    assert "has no sidecar bare.engine.json" in found["none"][1]
    assert found["trust"][0] == 11
    assert "--like model.onnx" in found["trust"][1]
    if not find_gpus().gpus:
        for name in ("like", "flags"):
            assert found[name][0] in (7, 8)
            assert "warning: it has no sidecar" in found[name][1]


def test_what_the_flags_say_of_a_plan_is_what_pictures_are_prepared_by(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["a", "b"]')
    options = BackendOptions(trust=True, labels=tmp_path / "labels.json", side=24, resize="warp")
    metadata = trusted_metadata(tmp_path / "bare.engine", options)
    assert (metadata.labels, metadata.input, metadata.crops) == (("a", "b"), "pixels", 10)
    assert (metadata.preprocessing.side, metadata.preprocessing.rule) == (24, "warp")
    with pytest.raises(SidecarError, match=r"--like model.onnx \(or --labels FILE"):
        trusted_metadata(tmp_path / "bare.engine", BackendOptions(trust=True))


def test_another_backend_than_the_plans_own_is_refused(tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("tensorrt_rtx")
    result = run_cli("infer", "--engine", write_plan(tmp_path), "--backend", "tensorrt", Path(__file__))
    assert result.exit_code in (7, 11)


def test_a_gpu_of_no_such_number_is_a_device_error(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    search = GpuSearch((Gpu("NVIDIA RTX 4090", "8.9", "13.0"),), "one")
    with pytest.raises(DeviceError, match="there is no GPU 1, expected 0 to 0"):
        check_device(Sidecar.load(plan), search, plan, 1)


def test_a_gpu_that_it_was_built_for_is_taken(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    ada = Gpu("NVIDIA RTX 4090", "8.9", "13.0")
    assert check_device(Sidecar.load(plan), GpuSearch((ada,), "one"), plan) == ada


def test_without_a_gpu_the_command_ends_on_one_line(tmp_path: Path, run_cli: Cli) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    if find_gpus().gpus:
        pytest.skip("there is a GPU here")
    plan = write_plan(tmp_path, tensorrt_version=str(rtx.__version__))
    result = run_cli("infer", "--engine", plan, Path(__file__).parent)
    assert result.exit_code in (3, 8)
    checked = run_cli("check", plan)
    assert checked.exit_code == 8
    assert checked.stderr.count("\n") == 1
    assert "needs an NVIDIA GPU" in checked.stderr


@pytest.mark.gpu
def test_an_engine_built_here_answers_as_the_training_model(tmp_path: Path, run_cli: Cli) -> None:
    from alexnet.export.onnx_from_run import export_onnx
    from tests.export.conftest import TINY, random_pictures, random_source

    names = [str(place) for place in range(9)]
    export_onnx([random_source(TINY)], random_pictures(9), names, tmp_path / "model.onnx")
    built = run_cli("build", tmp_path / "model.onnx", "--batch", "1,2,4")
    assert built.exit_code == 0, built.output
    checked = run_cli("check", tmp_path / "model.plan")
    assert checked.exit_code == 0, checked.output
