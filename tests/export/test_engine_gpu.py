"""On a GPU: every precision built and run, with whichever of tensorrt and tensorrt_rtx is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result

from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions, Lowering, Precision, Stem
from alexnet.export.source import Source
from alexnet.export.tensorrt_module import MODULES, capability_of, default_compute
from alexnet.gpu import find_gpus
from alexnet.sidecar import Sidecar

pytestmark = pytest.mark.gpu
Cli = Callable[..., Result]
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(params=MODULES)
def target(request: pytest.FixtureRequest) -> str:
    """Each target whose module is here and serves the GPU; the others are named as not run."""
    module, gpus = MODULES[request.param], find_gpus().gpus
    if not gpus:
        pytest.skip(f"not run: {find_gpus().reason}")
    if importlib.util.find_spec(module.name) is None:
        pytest.skip(f"not run: {module.name} is not installed")
    if module.ahead_of_time and gpus[0].capability not in map(capability_of, default_compute("fp32")):
        pytest.skip(f"not run: {module.name} builds for no {gpus[0].capability}, which {gpus[0].name} has")
    return str(request.param)


def build(
    source: Source, pictures: Pixels, folder: Path, target: str, run_cli: Cli, options: ExportOptions, *switches: str
) -> Sidecar:
    """Export and build by the command line, whose own verification is the test, and return the sidecar."""
    model = folder / "model.onnx"
    export_onnx([source], pictures, [str(place) for place in range(9)], model, options)
    built = run_cli("build", model, "--target", target, "--batch", "1,4,16", *switches)
    assert built.exit_code == 0, built.output
    sidecar = Sidecar.load(folder / "model.plan")
    assert sidecar.verified, sidecar.verified_reason
    return sidecar


@pytest.mark.parametrize("precision", get_args(Precision))
def test_every_precision_is_the_trained_model(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, target: str, run_cli: Cli, precision: Precision
) -> None:
    sidecar = build(tiny_source, pictures, tmp_path, target, run_cli, ExportOptions(precision=precision))
    assert sidecar.parity["pictures"] == 9
    assert run_cli("check", tmp_path / "model.plan").exit_code == 0
    assert "yes, on" in run_cli("inspect", tmp_path / "model.plan").output


@pytest.mark.parametrize("stem", get_args(Stem))
@pytest.mark.parametrize("lrn", [lowering for lowering in get_args(Lowering) if lowering != "plugin"])
def test_every_lowering_and_stem_is_the_trained_model(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, target: str, run_cli: Cli, lrn: Lowering, stem: Stem
) -> None:
    build(tiny_source, pictures, tmp_path, target, run_cli, ExportOptions(lrn=lrn, stem=stem))


def test_float_input_in_a_fixed_batch(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, target: str, run_cli: Cli
) -> None:
    options = ExportOptions(input="float", batch=4)
    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], tmp_path / "model.onnx", options)
    built = run_cli("build", tmp_path / "model.onnx", "--target", target)
    assert built.exit_code == 0, built.output
    assert Sidecar.load(tmp_path / "model.plan").verified


def test_a_plan_takes_its_weights_from_its_model(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, target: str, run_cli: Cli
) -> None:
    build(tiny_source, pictures, tmp_path, target, run_cli, ExportOptions(), "--strip-weights")


def test_a_second_build_finds_the_timings_of_the_first(
    tiny_source: Source, pictures: Pixels, tmp_path: Path, target: str, run_cli: Cli
) -> None:
    if target == "rtx":
        pytest.skip("tensorrt_rtx keeps no timings")
    cache = tmp_path / "timings"
    for _ in range(2):
        build(tiny_source, pictures, tmp_path, target, run_cli, ExportOptions(), "--timing-cache", str(cache))
    assert cache.stat().st_size > 0
