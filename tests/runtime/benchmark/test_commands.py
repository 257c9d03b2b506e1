"""`alexnet benchmark` as its user meets it, on a model of three classes."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from alexnet.architecture import layer_table
from alexnet.metadata import ModelMetadata
from alexnet.recipe import Recipe
from alexnet.recipe_file import recipe_to_values
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.backends.onnxruntime import OnnxRuntime
from alexnet.runtime.benchmark import limits, measure, memory, subjects
from alexnet.runtime.benchmark.limits import limit_subjects
from alexnet.runtime.benchmark.measure import flags
from alexnet.runtime.benchmark.subjects import networks, operations
from tests.runtime.conftest import colour_model, metadata

Cli = Callable[..., Result]
CPU = ("onnxruntime-cpu", "openvino-cpu")


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a process of its own is measured in one test only: each takes a second."""
    monkeypatch.setattr(measure, "peaks", lambda path, options, batches: {size: 10**6 * size for size in batches})


@pytest.fixture
def document(model: Path, images: Path, run_cli: Cli) -> dict[str, Any]:
    result = run_cli("benchmark", model, "--images", images, "--batch", "2,1", "--rounds", "3", "--json")
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_the_document_has_every_combination(document: dict[str, Any], model: Path) -> None:
    assert set(document) == {
        *("machine", "rounds", "models", "results", "limits", "end_to_end", "best", "not_usable"),
    }
    assert document["rounds"] == 3
    assert document["models"][0]["bytes"] == model.stat().st_size
    found = [(row["backend"], row["batch"]) for row in document["results"]]
    assert found == [(name, size) for name in CPU for size in (1, 2)]
    for row in document["results"]:
        times = row["latency_ms"]
        assert times["runs"] == 3
        assert 0 < times["minimum"] <= times["median"] <= times["p95"] <= times["p99"]
        rate = row["pictures_per_second"]
        assert rate["low"] <= rate["median"] <= rate["high"]
        assert rate["median"] == pytest.approx(row["batch"] / times["median"] * 1e3)
        assert row["peak_memory_bytes"] == 10**6 * row["batch"]
        assert row["error"] is None
        # The model's recipe does not describe its graph, so that nothing can be said of operations.
        assert row["gigaflops"] is None
        assert row["bound"] is None
    assert document["results"][0]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}


def test_answers_are_held_against_the_pack(document: dict[str, Any]) -> None:
    for row in document["results"]:
        assert row["agreement"]["reference"] == "training model, by the parity pack"
        assert row["agreement"]["pictures"] == 11
        assert row["agreement"]["top1"] == 1.0
        assert row["agreement"]["largest"] < 1e-6


def test_files_to_answers_are_measured_beside_their_parts(document: dict[str, Any]) -> None:
    assert [whole["backend"] for whole in document["end_to_end"]] == list(CPU)
    for whole in document["end_to_end"]:
        assert all(whole[part]["median"] > 0 for part in ("decoding", "inference", "whole", "ratio"))
        slower = min(("decoding", "inference"), key=lambda part: whole[part]["median"])
        assert whole["bound"] == slower


def test_the_printed_command_works(document: dict[str, Any], run_cli: Cli) -> None:
    best = document["best"][0]
    program, *arguments = shlex.split(best["command"])
    assert program == "alexnet"
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.output
    assert f"{best['backend']} on CPU" in result.stderr
    assert len(result.stdout.splitlines()) == 12


def test_without_a_pack_the_reference_is_onnx_runtime(tmp_path: Path, run_cli: Cli) -> None:
    path = colour_model(tmp_path / "bare.onnx")
    result = run_cli("benchmark", path, "--backend", "openvino-cpu", "--batch", "1", "--rounds", "1", "--json")
    row = json.loads(result.stdout)["results"][0]
    assert row["agreement"]["reference"] == "onnxruntime-cpu"
    assert row["agreement"]["largest"] < 1e-6


def test_a_model_of_other_answers_is_shown_to_disagree(model: Path, run_cli: Cli) -> None:
    """The pack is the model's; the file is replaced by one of the same metadata with another gain."""
    colour_model(model, gain=-0.05)
    row = json.loads(run_cli("benchmark", model, "--batch", "1", "--rounds", "1", "--json").stdout)["results"][0]
    assert row["agreement"]["largest"] > 0.01
    assert row["agreement"]["top1"] < 1.0


def test_a_backend_that_fails_is_reported_and_the_other_is_measured(
    model: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: OnnxRuntime, fed: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(OnnxRuntime, "run", fails)
    result = run_cli("benchmark", model, "--batch", "1", "--rounds", "2")
    assert result.exit_code == 0, result.output
    assert "onnxruntime-cpu, batch 1: failed, ONNX Runtime could not run colours: no such kernel" in result.stdout
    assert "best: openvino-cpu, batch 1" in result.stdout


def test_a_backend_that_cannot_open_is_reported_too(model: Path, run_cli: Cli) -> None:
    asked = ("--backend", "onnxruntime-cuda", "--backend", "onnxruntime-cpu")
    result = run_cli("benchmark", model, *asked, "--batch", "1", "--rounds", "1")
    if "CUDAExecutionProvider" in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime has the CUDA provider")
    assert result.exit_code == 0, result.output
    assert "onnxruntime-cuda, batch 1: failed, onnxruntime-cuda was asked for and is not to be had" in result.stdout


def test_where_nothing_can_be_measured_it_is_an_error(
    model: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "open_backend", lambda path, options: 1 / 0)
    result = run_cli("benchmark", model, "--rounds", "1")
    assert result.exit_code == 8
    assert "nothing could be measured; onnxruntime-cpu: ZeroDivisionError: division by zero" in result.stderr


def test_the_table_has_a_line_a_combination(model: Path, run_cli: Cli) -> None:
    text = run_cli("benchmark", model, "--batch", "1,3", "--rounds", "2").stdout
    head = next(line for line in text.splitlines() if line.split()[:2] == ["backend", "batch"])
    for word in ("min", "mean", "median", "p95", "p99", "pictures/s", "ratio", "memory", "bound"):
        assert word in head
    rows = [line.split()[:3] for line in text.splitlines() if line.strip().startswith(CPU) and "fp32" in line]
    assert rows == [[name, "fp32", size] for name in CPU for size in ("1", "3")]
    assert "cores" in text.splitlines()[0]
    assert text.splitlines()[0].endswith("2 rounds")


def test_a_plot_is_written_by_its_suffix(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("matplotlib")
    for name, start in (("plot.svg", b"<?xml"), ("plot.png", b"\x89PNG")):
        result = run_cli("benchmark", model, "--batch", "1,2", "--rounds", "1", "--plot", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert (tmp_path / name).read_bytes().startswith(start)
    refused = run_cli("benchmark", model, "--plot", tmp_path / "plot.bmp")
    assert refused.exit_code == 2
    assert ".svg or .png" in refused.stderr


def test_without_matplotlib_the_plot_names_what_installs_it(
    model: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run_cli("benchmark", model, "--plot", tmp_path / "plot.svg")
    assert result.exit_code == 7
    assert "alexnet-toolchain[plot]" in result.stderr


@pytest.mark.parametrize("batches", ["0", "1,,2", "a", "-1"])
def test_batches_that_are_none_are_refused(model: Path, run_cli: Cli, batches: str) -> None:
    assert run_cli("benchmark", model, "--batch", batches).exit_code == 2


def test_a_missing_model_and_a_stranger_are_refused(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    assert run_cli("benchmark", tmp_path / "absent.onnx").exit_code == 3
    (tmp_path / "model.pb").write_bytes(b"x")
    assert run_cli("benchmark", tmp_path / "model.pb").exit_code == 5


@pytest.mark.parametrize(("largest", "fixed", "measured"), [(3, None, [1, 2]), (4, 4, [4]), (16, None, [1, 2, 8])])
def test_batches_are_those_that_the_backend_takes(
    tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch, largest: int, fixed: int | None, measured: list[int]
) -> None:
    path = colour_model(tmp_path / "model.onnx")
    real = open_backend

    def limited(where: Path, options: BackendOptions) -> object:
        backend = real(where, options)
        backend.largest_batch = largest
        backend.metadata = dataclasses.replace(backend.metadata, batch=fixed)
        return backend

    monkeypatch.setattr(subjects, "open_backend", limited)
    asked = ("--backend", "onnxruntime-cpu", "--batch", "1,2,8", "--rounds", "1", "--json")
    found = json.loads(run_cli("benchmark", path, *asked).stdout)
    assert [row["batch"] for row in found["results"]] == measured


def test_the_parts_of_a_batch_are_told_apart(model: Path) -> None:
    """Bound on the host: the same calls as on a GPU."""
    backend = open_backend(model, BackendOptions(name="onnxruntime-cpu"))
    assert isinstance(backend, OnnxRuntime)
    pictures = np.zeros((2, 24, 24, 3), dtype=np.uint8)
    assert backend.stages(pictures) is None
    assert all(seconds >= 0 for seconds in backend._bound_stages(pictures, "cpu"))


def test_a_backend_with_copies_says_so_in_its_row(model: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxRuntime, "stages", lambda self, pictures: (0.004, 0.001, 0.002))
    asked = ("benchmark", model, "--backend", "onnxruntime-cpu", "--batch", "1", "--rounds", "1")
    row = json.loads(run_cli(*asked, "--json").stdout)["results"][0]
    assert row["stages"] == {"upload_ms": 4.0, "model_ms": 1.0, "download_ms": 2.0}
    assert row["bound"] == "transfers"
    assert "6.00" in run_cli(*asked).stdout


def test_the_memory_of_a_process_of_its_own_is_measured(model: Path) -> None:
    found = memory.peaks(model, BackendOptions(name="onnxruntime-cpu"), [2, 1])
    assert list(found) == [1, 2]
    assert all(20e6 < peak < 2e9 for peak in found.values())


def test_a_process_that_fails_gives_no_figures(tmp_path: Path) -> None:
    assert memory.peaks(tmp_path / "absent.onnx", BackendOptions(), [1]) == {}


def full_size(**changes: object) -> ModelMetadata:
    labels = tuple(map(str, range(1000)))
    preprocessing = metadata().preprocessing.__class__(256)
    facts = {"recipe": recipe_to_values(Recipe()), "labels": labels, "crop": 224, "preprocessing": preprocessing}
    return metadata(**(facts | changes))


def test_operations_are_those_of_the_layer_table() -> None:
    table = layer_table(Recipe().network)
    macs = sum(row.macs for row in table.rows())
    assert operations(full_size()) == 20 * macs
    assert operations(metadata()) == 0
    assert networks(full_size(crop=112)) == []


def test_a_shared_stem_has_8778_positions_for_30250() -> None:
    first = next(layer_table(Recipe().network).rows())
    saved = operations(full_size()) - operations(full_size(stem="shared"))
    assert saved == pytest.approx(2 * (30_250 - 8_778) * first.macs / 55**2)


def test_a_deep_stem_has_3802_positions_of_conv2_for_7290() -> None:
    _, second, *_ = layer_table(Recipe().network).rows()
    saved = operations(full_size(stem="shared")) - operations(full_size(stem="deep"))
    assert saved == pytest.approx(2 * (7_290 - 3_802) * second.macs / 27**2)


@pytest.mark.parametrize("name", CPU)
def test_the_limits_of_a_runtime_compute_what_they_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SIDE": 32, "MAPS": 4, "POSITIONS": 5, "PICTURES": 2, "ROWS": 16, "COLUMNS": 8}
    for constant, size in sizes.items():
        monkeypatch.setattr(limits, constant, size)
    found = limit_subjects(name, BackendOptions(threads=1))
    shapes = {"convolution": (2, 4, 5, 5), "matrix product": (32, 32), "weights": (1, 8)}
    assert list(found) == list(shapes)
    work = {"convolution": 2 * 4 * 4 * 9 * 2 * 25, "matrix product": 2 * 32**3, "weights": 4 * 16 * 8}
    for limit, subject in found.items():
        assert subject.work == work[limit]
        assert np.asarray(subject.run()[0]).shape == shapes[limit]  # type: ignore[index]
    assert limit_subjects(name, BackendOptions(threads=1), "int8").keys() == found.keys()
    assert limit_subjects("tensorrt", BackendOptions()) == {}


def test_the_flags_of_the_command_open_a_model_alike() -> None:
    assert flags(BackendOptions()) == []
    opening = BackendOptions(precision="bf16", threads=3, hint="throughput", allow_cpu=True)
    assert flags(opening) == ["--precision", "bf16", "--threads", "3", "--hint", "throughput", "--allow-cpu"]
