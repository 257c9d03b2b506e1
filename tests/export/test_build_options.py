"""What a build is asked for, and what reaches TensorRT: a stand-in for `tensorrt`, and the real tensorrt_rtx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result

from alexnet.errors import BuildError, InputError, ParityError
from alexnet.export import engine
from alexnet.export.build_options import BuildOptions, chosen_profile
from alexnet.export.engine import engine_from_onnx, read_model
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.export.tensorrt_module import FLAGS, MODULES, check_options
from alexnet.gpu import Gpu, GpuSearch
from alexnet.layer_precision import layer_precision
from alexnet.parity import parity_pack_beside
from alexnet.sidecar import Profile, Sidecar, Verification, sidecar_beside
from tests.export.conftest import SIDE
from tests.export.fake_tensorrt import PLAN, Module

Cli = Callable[..., Result]
Pixels = npt.NDArray[np.uint8]
H100 = GpuSearch((Gpu("NVIDIA H100 80GB HBM3", "9.0", "13.0"),), "1 NVIDIA GPU(s), the first is NVIDIA H100")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_source: Source, pictures: Pixels) -> Path:
    path = tmp_path_factory.mktemp("options") / "model.onnx"
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], path)
    return path


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Module:
    """The stand-in in the place of tensorrt, on a GPU that is only said to be there."""
    module = Module()
    monkeypatch.setattr(engine, "import_module", lambda target: module)
    monkeypatch.setattr(engine, "find_gpus", lambda: H100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return module


def test_every_switch_reaches_the_builder(trt: Module, model: Path, tmp_path: Path) -> None:
    options = BuildOptions(
        profile=Profile(2, 4, 6),
        opt_level=5,
        workspace=64,
        version_compatible=True,
        hardware_compatible=True,
        strip_weights=True,
    )
    sidecar = engine_from_onnx(model, tmp_path / "net.plan", "gpu", options)
    (config,) = trt.configs
    assert config.flags == {flag for flags in FLAGS.values() for flag in flags}
    assert (config.builder_optimization_level, config.pools) == (5, {"WORKSPACE": 64 << 20})  # type: ignore[attr-defined]
    assert config.hardware_compatibility_level == "AMPERE_PLUS"  # type: ignore[attr-defined]
    assert config.profiles[0].shapes == {"pictures": tuple((size, SIDE, SIDE, 3) for size in (2, 4, 6))}
    assert sidecar.compute_capabilities == ("8.0+",)
    assert sidecar.options == options.to_values()
    assert sidecar.gpu_name == "NVIDIA H100 80GB HBM3"
    assert Sidecar.load(tmp_path / "net.plan") == sidecar


def test_plain_builds_set_nothing_and_clear_tensor_float(trt: Module, model: Path, tmp_path: Path) -> None:
    sidecar = engine_from_onnx(model, tmp_path / "net.plan", "gpu")
    (config,) = trt.configs
    assert (config.flags, config.pools, hasattr(config, "builder_optimization_level")) == (set(), {}, False)
    assert (sidecar.compute_capabilities, sidecar.profile) == (("9.0",), Profile(1, 8, 32))


def test_a_flag_that_the_version_lacks_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, trt: Module, model: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "import_module", lambda target: Module(without=("STRIP_PLAN",)))
    with pytest.raises(BuildError, match=r"tensorrt 10\.9\.0 has no BuilderFlag\.STRIP_PLAN, which this build needs"):
        engine_from_onnx(model, tmp_path / "net.plan", "gpu", BuildOptions(strip_weights=True))
    assert not list(tmp_path.glob("*net*"))


@pytest.mark.parametrize("lack", MODULES["rtx"].lacks)
def test_what_rtx_lacks_names_what_to_do_instead(lack: str) -> None:
    asked: Any = {lack: Path("timings") if lack == "timing_cache" else True}
    with pytest.raises(BuildError, match=rf"tensorrt_rtx does not serve --{lack.replace('_', '-')}; ."):
        check_options("rtx", BuildOptions(**asked))
    check_options("gpu", BuildOptions(**asked))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"opt_level": 6}, "expected 0 to 5"),
        ({"workspace": 0}, "expected 1 or more"),
        ({"timing_cache": Path("x"), "keep_timings": False}, "exclude each other"),
    ],
)
def test_options_that_no_module_takes_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BuildError, match=words):
        BuildOptions(**options)


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ("fp16", r"alexnet export --onnx --precision fp16"),
        ("bf16", r"alexnet export --onnx --precision bf16"),
        ("int8", r"make that model with: alexnet calibrate .* --data DATA --format int8"),
        ("fp8", r"make that model with: alexnet calibrate .* --data DATA --format fp8"),
    ],
)
def test_another_precision_than_the_files_names_the_command_that_makes_it(
    model: Path, tmp_path: Path, run_cli: Cli, asked: str, command: str
) -> None:
    with pytest.raises(BuildError, match=rf"is in fp32, --precision {asked} was asked for.*{command}"):
        engine_from_onnx(model, tmp_path / "net.plan", "rtx", BuildOptions(precision=asked))
    assert run_cli("build", model, "--target", "rtx", "--precision", asked).exit_code == 10


def test_a_fixed_batch_is_the_profile_and_no_other_is_taken() -> None:
    assert chosen_profile(None, 4, "m.onnx") == chosen_profile(Profile(4, 4, 4), 4, "m.onnx") == Profile(4, 4, 4)
    with pytest.raises(BuildError, match=r"m\.onnx takes batches of 4 and no others, --batch 1,8,32 was asked for"):
        chosen_profile(Profile(1, 8, 32), 4, "m.onnx")


def test_float_input_a_fixed_batch_and_weights_in_a_second_file_build(
    tiny_source: Source, pictures: Pixels, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "model.onnx"
    asked = ExportOptions(input="float", batch=4, external=True)
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], path, asked)
    sidecar = engine_from_onnx(path, tmp_path / "net.plan", "rtx", BuildOptions(compute=("sm89",)))
    assert sidecar.profile == Profile(4, 4, 4)
    (weights,) = tmp_path.glob("model.onnx.*.data")
    elsewhere = tmp_path / "elsewhere"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    refused = pytest.raises(Exception, match="which is a link")
    with refused:
        engine_from_onnx(path, tmp_path / "net.plan", "rtx", BuildOptions(compute=("sm89",)))


def test_layers_are_recorded_in_the_precision_of_the_file(
    tiny_source: Source, pictures: Pixels, model: Path, tmp_path: Path
) -> None:
    assert set(layer_precision(read_model(model).proto).values()) == {"fp32"}
    path = tmp_path / "half.onnx"
    names = [str(place) for place in range(9)]
    export_onnx([tiny_source], pictures, names, path, ExportOptions(precision="fp16"))
    found = layer_precision(read_model(path).proto)
    assert {found[name] for name in ("crops", "conv1", "lrn1", "pool5", "fc8")} == {"fp16"}
    assert list(found)[:3] == ["crops", "conv1", "relu1"]
    export_onnx([tiny_source], pictures, names, path, ExportOptions(precision="fp16", stem="deep"))
    shared = layer_precision(read_model(path).proto)
    assert list(shared) == [name for name in found if name != "crops"]
    assert set(shared.values()) == {"fp16"}


def test_the_pack_is_run_before_the_plan_takes_its_place(trt: Module, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "net.plan"

    def verify(staged: Path, pack: Path, source: Path) -> Verification:
        assert (staged.read_bytes(), Sidecar.load(staged).verified) == (PLAN, False)
        assert (pack, source) == (parity_pack_beside(model), model)
        assert not plan.exists()
        return Verification(True, "differs by 1e-7", {"largest": 1e-7})

    sidecar = engine_from_onnx(model, plan, "gpu", verify=verify)
    assert (sidecar.verified, sidecar.verified_reason, sidecar.parity) == (True, "differs by 1e-7", {"largest": 1e-7})
    assert Sidecar.load(plan) == sidecar
    assert parity_pack_beside(plan).read_bytes() == parity_pack_beside(model).read_bytes()


def test_a_plan_past_its_tolerance_is_not_written(trt: Module, model: Path, tmp_path: Path) -> None:
    def verify(staged: Path, pack: Path, source: Path) -> Verification:
        raise ParityError("it differs")

    folder = tmp_path / "plans"
    with pytest.raises(ParityError):
        engine_from_onnx(model, folder / "net.plan", "gpu", verify=verify)
    assert not list(folder.iterdir())


def test_why_a_plan_is_not_verified_is_said(
    monkeypatch: pytest.MonkeyPatch, trt: Module, model: Path, tmp_path: Path
) -> None:
    def never(staged: Path, pack: Path, source: Path) -> Verification:
        raise AssertionError

    plan = tmp_path / "net.plan"
    asked = engine_from_onnx(model, plan, "gpu", BuildOptions(verify=False), never)
    assert (asked.verified, "not asked for" in asked.verified_reason) == (False, True)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(model.read_bytes())
    assert (
        "no parity pack alone.parity.safetensors" in engine_from_onnx(alone, plan, "gpu", None, never).verified_reason
    )
    older = replace(H100.gpus[0], capability="7.5")
    monkeypatch.setattr(engine, "find_gpus", lambda: GpuSearch((older,), "one"))
    elsewhere = engine_from_onnx(model, plan, "gpu", BuildOptions(hardware_compatible=True), never)
    assert "it was built for 8.0+, NVIDIA H100 80GB HBM3 here has 7.5" in elsewhere.verified_reason


def test_timings_are_kept_by_gpu_and_version_and_shared(trt: Module, model: Path, tmp_path: Path) -> None:
    engine_from_onnx(model, tmp_path / "net.plan", "gpu")
    (kept,) = (tmp_path / "cache").rglob("*.cache")
    assert kept.name == "tensorrt-10.9.0-nvidia-h100-80gb-hbm3-sm90.cache"
    assert kept.read_bytes() == b"measured"
    # Another builder writes while this one measures: nothing of either is lost.
    trt.during = lambda config: kept.write_bytes(b"measured,another") and None
    engine_from_onnx(model, tmp_path / "net.plan", "gpu")
    assert kept.read_bytes() == b"another,measured"


@pytest.mark.parametrize(("content", "words"), [(b"damaged", "is damaged"), (b"other-gpu", "is of another GPU")])
def test_a_damaged_cache_is_made_anew_with_a_warning(
    trt: Module, model: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    cache, said = tmp_path / "timings", []
    cache.write_bytes(content)
    options = BuildOptions(timing_cache=cache)
    engine_from_onnx(model, tmp_path / "net.plan", "gpu", options, say=said.append)
    assert [words in text for text in said] == [True]
    assert b"measured" in cache.read_bytes()
    said.clear()
    if content == b"damaged":
        engine_from_onnx(model, tmp_path / "net.plan", "gpu", options, say=said.append)
        assert (said, cache.read_bytes()) == ([], b"measured")


def test_no_cache_where_none_is_wanted_or_the_folder_cannot_be_used(trt: Module, model: Path, tmp_path: Path) -> None:
    engine_from_onnx(model, tmp_path / "net.plan", "gpu", BuildOptions(keep_timings=False))
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot use the timing cache"):
        engine_from_onnx(model, tmp_path / "net.plan", "gpu", BuildOptions(timing_cache=tmp_path / "file" / "x"))


def test_the_command_takes_every_switch(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("tensorrt_rtx")
    plan = tmp_path / "net.plan"
    switches = ("--opt-level", "0", "--workspace", "256", "--no-timing-cache", "--no-verify", "--precision", "fp32")
    result = run_cli("build", model, "-o", plan, "--target", "rtx", "--compute", "sm89", "--quiet", *switches)
    assert result.exit_code == 0, result.output
    assert Sidecar.load(plan).options["opt_level"] == 0
    assert sidecar_beside(plan).is_file()
    for switch in ("--hardware-compatible", "--version-compatible"):
        refused = run_cli("build", model, "-o", plan, "--target", "rtx", switch)
        assert (refused.exit_code, f"does not serve {switch}" in refused.output) == (10, True)
