from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run trained on it for two epochs, and its ONNX model."""
    from click.testing import CliRunner

    from alexnet.cli import alexnet

    root = tmp_path_factory.mktemp("evaluate")
    recipe = (
        "name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n[sgd]\nbatch = 16\n"
    )
    (root / "tiny.toml").write_text(recipe + "[schedule]\nepochs = 2\n")
    for line in (
        f"data make {root}/data --size 72 --train 40 --val 30 --workers 1",
        f"train --recipe {root}/tiny.toml --data {root}/data --out {root}/run",
        f"export {root}/run --onnx {root}/model.onnx",
    ):
        result = CliRunner().invoke(alexnet, line.split())
        assert result.exit_code == 0, result.output
    return root


def test_a_run_and_its_model_have_the_same_ten_crop_errors(trained: Path, run_cli: Cli) -> None:
    run = json.loads(run_cli("evaluate", trained / "run", trained / "data", "--json").stdout)
    model = json.loads(run_cli("evaluate", trained / "model.onnx", trained / "data", "--json").stdout)
    assert [entry["views"] for entry in run] == [1, 10]
    assert model == [run[1]]
    assert run[0]["pictures"] == 30


def test_the_centre_crop_error_is_the_one_that_training_logged(trained: Path, run_cli: Cli) -> None:
    last = json.loads((trained / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    centre = json.loads(run_cli("evaluate", trained / "run", trained / "data", "--json").stdout)[0]
    assert (centre["top1"], centre["top5"]) == (last["val_top1_error"], last["val_top5_error"])


def test_a_gpu_is_not_replaced_in_silence(trained: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = run_cli("evaluate", trained / "run", trained / "data", "--device", "cuda")
    assert done.exit_code == 8
    assert done.stderr.startswith("Error: torch finds no NVIDIA GPU here; leave --device out")


def test_a_device_is_refused_for_a_model_file(trained: Path, run_cli: Cli) -> None:
    done = run_cli("evaluate", trained / "model.onnx", trained / "data", "--device", "cpu")
    assert done.exit_code == 2
    assert "a model file has its own backend" in done.stderr


def test_the_batch_changes_no_figure(trained: Path, run_cli: Cli) -> None:
    outputs = {run_cli("evaluate", trained / "run", trained / "data", "--batch", str(n)).stdout for n in (1, 7, 64)}
    assert len(outputs) == 1
    assert "10 crops" in outputs.pop()


def test_prepared_data_give_the_figures_of_the_folder(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("data", "prepare", trained / "data", tmp_path / "prepared", "--size", "72", "--workers", "1")
    assert done.exit_code == 0, done.output
    for source in ("run", "model.onnx"):
        outputs = {
            run_cli("evaluate", trained / source, data, "--json").stdout
            for data in (trained / "data", tmp_path / "prepared")
        }
        assert len(outputs) == 1


def test_data_of_other_classes_are_refused(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    data = Path(shutil.copytree(trained / "data", tmp_path / "data"))
    for part in ("train", "val"):
        (data / part / "clock").rename(data / part / "cuckoo")
    for source in ("run", "model.onnx"):
        result = run_cli("evaluate", trained / source, data)
        assert (result.exit_code, "they differ (clock)" in result.stderr) == (3, True), result.stderr
