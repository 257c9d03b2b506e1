from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from alexnet.errors import ModelError
from alexnet.pictures import Preprocessing
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.ensemble import open_engines
from tests.runtime.conftest import SIDE, colour_model, expected, metadata

Cli = Callable[..., Result]
PICTURES = np.random.default_rng(5).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def test_answers_are_the_mean_of_the_engines(tmp_path: Path) -> None:
    paths = [colour_model(tmp_path / f"{gain}.onnx", gain=gain) for gain in (0.01, 0.05, 0.2)]
    backend = open_engines(paths, BackendOptions(threads=1), None)
    mean = np.mean([expected(PICTURES, gain) for gain in (0.01, 0.05, 0.2)], axis=0)
    assert np.abs(backend.probabilities(PICTURES) - mean).max() < 1e-6
    assert (backend.name, backend.device, backend.precision) == ("onnxruntime-cpu", "CPU", "fp32")
    backend.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ("red", "lime", "blue")}, r"one.onnx knows 3 classes and .*two.onnx 3.*'green' and 'lime'"),
        ({"preprocessing": Preprocessing(SIDE, "warp")}, "expects preprocessing"),
    ],
)
def test_engines_must_be_alike(tmp_path: Path, change: dict[str, object], words: str) -> None:
    one, two = colour_model(tmp_path / "one.onnx"), colour_model(tmp_path / "two.onnx", metadata(**change))
    with pytest.raises(ModelError, match=words):
        open_engines([one, two], BackendOptions(), None)


def test_another_side_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = colour_model(tmp_path / "one.onnx")
    monkeypatch.setattr("tests.runtime.conftest.SIDE", 20)
    two = colour_model(tmp_path / "two.onnx", metadata(preprocessing=Preprocessing(20)))
    with pytest.raises(ModelError, match=r"one.onnx takes pictures of .*24.*two.onnx of .*20"):
        open_engines([one, two], BackendOptions(), None)


def test_the_crops_asked_for_must_be_the_engines(model: Path, tmp_path: Path, images: Path, run_cli: Cli) -> None:
    one = colour_model(tmp_path / "one.onnx", metadata(crops=1))
    for engine, crops, code in ((model, "ten", 0), (model, "one", 5), (one, "one", 0), (one, "ten", 5)):
        result = run_cli("infer", "--engine", engine, "--crops", crops, images)
        assert result.exit_code == code, result.stderr
        if code:
            assert f"alexnet export --onnx --crops {crops}" in result.stderr


def test_the_result_names_every_engine(model: Path, tmp_path: Path, images: Path, run_cli: Cli) -> None:
    other = colour_model(tmp_path / "other.onnx", metadata(checkpoint_sha256="e" * 64), gain=0.2)
    result = run_cli("infer", "--engine", model, "--engine", other, images, "--json")
    document = json.loads(result.stdout)
    assert [(entry["model"], entry["checkpoint_sha256"][0]) for entry in document["engines"]] == [
        (str(model), "d"),
        (str(other), "e"),
    ]
    assert "10 crops each, the mean of 2 engines" in result.stderr
