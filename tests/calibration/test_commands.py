from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

from alexnet import ops
from alexnet.calibration import calibrate as calibration
from alexnet.calibration.gate import Accuracy, PairedDrop
from alexnet.files import sha256_of
from alexnet.layer_precision import layer_precision
from alexnet.metadata import ModelMetadata

Run = Callable[..., Result]
MOST = ("--max-drop", "15", "--pictures", "40")


def facts(path: Path) -> ModelMetadata:
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return ModelMetadata.from_properties(properties, str(path))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


FORMS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((0,), {"lrn": "conv"}),
    ((0,), {"lrn": "native"}),
    ((0,), {"lrn": "function"}),
    ((0,), {"stem": "shared"}),
    ((0,), {"stem": "deep"}),
    ((0,), {"input": "float"}),
    ((0,), {"crops": "one"}),
    ((0,), {"batch": 3}),
    ((0,), {"external": True}),
    ((0, 0), {}),
]


@pytest.mark.parametrize("form", ["int8", "fp8"])
@pytest.mark.parametrize(("seeds", "options"), FORMS, ids=lambda value: str(value))
def test_every_form_is_calibrated_and_passes_its_check(
    export: Callable[..., Path], data: Path, run_cli: Run, tmp_path: Path, form: str, seeds: Any, options: Any
) -> None:
    model, out = export(*seeds, **options), tmp_path / "small.onnx"
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--format", form, "--method", "minmax", *MOST)
    assert done.exit_code == 0, done.output
    assert left(tmp_path) == [
        "small.calibration.json",
        "small.onnx",
        "small.parity.safetensors",
        "small.proof.md",
    ]
    made = facts(out)
    assert (made.precision, made.calibration["format"]) == (form, form)
    assert made.parity["largest"] <= 0.25
    assert made.batch == options.get("batch")
    checked = run_cli("check", out, "--layers")
    assert checked.exit_code == 0, checked.output


@pytest.mark.usefixtures("library")
def test_a_plugin_is_calibrated_with_the_library_and_refused_without(
    export: Callable[..., Path], data: Path, run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = export(lrn="plugin"), tmp_path / "small.onnx"
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--method", "minmax", *MOST)
    assert done.exit_code == 0, done.output
    assert "alexnet_ops.so" in left(tmp_path)
    assert run_cli("check", out, "--layers").exit_code == 0
    for path in tmp_path.iterdir():
        path.unlink()
    monkeypatch.setattr(ops, "LIBRARY", tmp_path / "none.so")
    done = run_cli("calibrate", model, "--data", data, "-o", out, *MOST)
    assert done.exit_code == 7
    assert "needs the library none.so, which is not built; build it in a checkout with: make ops" in done.stderr
    assert left(tmp_path) == []


def test_the_manifest_lists_the_pictures_and_is_tied_to_the_model(
    model: Path, data: Path, run_cli: Run, tmp_path: Path
) -> None:
    out = tmp_path / "small.onnx"
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--max-drop", "15", "--pictures", "20", "--seed", "4")
    assert done.exit_code == 0, done.output
    assert "warning: 20 pictures calibrate, fewer than 100" in done.stderr
    manifest = json.loads((tmp_path / "small.calibration.json").read_text())
    assert facts(out).calibration["manifest_sha256"] == sha256_of(tmp_path / "small.calibration.json")
    assert manifest["model_sha256"] == sha256_of(model)
    assert (manifest["seed"], manifest["method"], manifest["weight_bits"]) == (4, "mse", 7)
    assert len(manifest["calibration_pictures"]) == 20
    for entry in manifest["calibration_pictures"]:
        assert entry["name"].startswith(f"train/{entry['class']}/")
        assert entry["sha256"] == sha256_of(data / entry["name"])
    assert any("fewer than 100" in text for text in manifest["warnings"])
    assert "## Calibration" in (tmp_path / "small.proof.md").read_text()


def test_the_gate_refuses_absurd_thresholds_and_leaves_nothing(
    model: Path, data: Path, run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "threshold", lambda histogram, method, form: histogram.largest * 1e4)
    done = run_cli("calibrate", model, "--data", data, "-o", tmp_path / "small.onnx")
    assert done.exit_code == 13
    assert "allowed are 0.5; no model was written: keep the dearest layers in float with --auto" in done.stderr
    assert left(tmp_path) == []


def test_auto_gives_up_where_nothing_helps(
    model: Path, data: Path, run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = PairedDrop(pictures=30, before=1.0, after=0.5, lost=15, gained=0)
    monkeypatch.setattr(calibration, "accuracy", lambda before, after, labels: Accuracy(worse, worse))
    done = run_cli("calibrate", model, "--data", data, "-o", tmp_path / "small.onnx", "--auto", "--pictures", "5")
    assert done.exit_code == 13
    assert "in float classifies" in done.stderr
    assert "--auto" not in done.stderr.rpartition("no model was written")[2]
    assert left(tmp_path) == []


def test_auto_keeps_the_layer_that_is_bad_and_says_what_it_costs(
    model: Path, data: Path, run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = calibration.threshold
    bad = {"crops"}

    def collect(*arguments: Any, **named: Any) -> Any:
        histograms = kept_collect(*arguments, **named)
        for name in bad:
            histograms[name].bad = True
        return histograms

    def threshold(histogram: Any, method: Any, form: Any) -> float:
        return found(histogram, method, form) * (1e4 if getattr(histogram, "bad", False) else 1.0)

    kept_collect = calibration.collect
    monkeypatch.setattr(calibration, "collect", collect)
    monkeypatch.setattr(calibration, "threshold", threshold)
    out = tmp_path / "small.onnx"
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--method", "minmax", "--auto", *MOST)
    assert done.exit_code == 0, done.output
    assert facts(out).calibration["kept"] == ["conv1"]
    assert layer_precision(onnx.load(out))["conv1"] == "fp32"
    assert "conv1 stays in float" in done.stderr
    assert "in float: conv1; ONNX Runtime, batch 4:" in done.stdout
    # Its cost stands first in the table.
    assert done.stdout.splitlines()[2].split()[0] == "conv1"


def test_layers_are_kept_on_request_and_a_stranger_is_refused(
    model: Path, data: Path, run_cli: Run, tmp_path: Path
) -> None:
    out = tmp_path / "small.onnx"
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--keep", "fc8", "--keep", "conv2", *MOST)
    assert done.exit_code == 0, done.output
    assert facts(out).calibration["kept"] == ["conv2", "fc8"]
    assert "in float: conv2, fc8" in done.stdout
    done = run_cli("calibrate", model, "--data", data, "-o", out, "--keep", "fc9")
    assert done.exit_code == 3
    assert "no layer 'fc9' to keep in float" in done.stderr


def test_sensitivity_ranks_every_layer(model: Path, data: Path, run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("calibrate", model, "--data", data, "-o", tmp_path / "small.onnx", "--sensitivity", *MOST)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "layers quantised one at a time, on 40 calibration pictures:"
    costs = [float(line.split()[1]) for line in lines[2:10]]
    assert costs == sorted(costs, reverse=True)
    assert {line.split()[0] for line in lines[2:10]} == {*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8"}


def test_only_a_float32_model_is_quantised(export: Callable[..., Path], model: Path, data: Path, run_cli: Run) -> None:
    half = export(precision="fp16")
    done = run_cli("calibrate", half, "--data", data)
    assert done.exit_code == 5
    assert "is in fp16, only float32 models are quantised" in done.stderr
    assert run_cli("calibrate", model, "--data", data, "-o", model).exit_code == 2


def test_an_interrupt_leaves_nothing(
    model: Path, data: Path, run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("alexnet.calibration.output.prove", interrupt)
    done = run_cli("calibrate", model, "--data", data, "-o", tmp_path / "small.onnx", *MOST)
    assert done.exit_code != 0
    assert left(tmp_path) == []


def test_a_validation_part_that_is_too_small_is_said() -> None:
    drop = PairedDrop(pictures=30, before=1.0, after=1.0, lost=0, gained=0)
    options = calibration.CalibrateOptions(max_drop=0.5)
    (doubt,) = calibration._doubts(Accuracy(drop, drop), options)
    assert "30 validation pictures cannot exclude it" in doubt
    many = PairedDrop(pictures=50_000, before=0.9, after=0.9, lost=10, gained=10)
    assert calibration._doubts(Accuracy(many, many), options) == []


def test_openvino_runs_what_was_written(model: Path, data: Path, run_cli: Run, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino", reason="openvino is not installed: extra openvino")
    out = tmp_path / "small.onnx"
    assert run_cli("calibrate", model, "--data", data, "-o", out, "--method", "minmax", *MOST).exit_code == 0
    from tests.calibration.conftest import answers, nets

    pictures = nets.random_pictures(4, seed=9)
    core = ov.Core()
    found = core.compile_model(core.read_model(out), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({0: pictures})[0]
    assert np.abs(found - answers(model, pictures)).max() < 0.25


@pytest.mark.parametrize("form", ["int8", "fp8"])
@pytest.mark.parametrize("lrn", ["conv", "native", "function"])
def test_a_tensorrt_compiler_builds_it(
    export: Callable[..., Path], data: Path, run_cli: Run, tmp_path: Path, form: str, lrn: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: extra rtx")
    model, out = export(lrn=lrn), tmp_path / "small.onnx"
    arguments = ("--format", form, "--method", "minmax", *MOST)
    assert run_cli("calibrate", model, "--data", data, "-o", out, *arguments).exit_code == 0
    built = run_cli(
        "build",
        out,
        "--target",
        "rtx",
        "--compute",
        "sm89",
        "--opt-level",
        "0",
        "--batch",
        "1,2,4",
        "-o",
        tmp_path / "p.plan",
    )
    assert built.exit_code == 0, built.output
    assert json.loads((tmp_path / "p.plan.json").read_text())["layers"]["conv2"] == form
