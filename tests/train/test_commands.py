from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Cli = Callable[..., Result]
TINY = "name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n[sgd]\nbatch = 8\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def test_train_prints_each_epoch_and_what_to_do_next(
    run_cli: Cli, tmp_path: Path, recipe: Path, tiny_data: Path
) -> None:
    out = tmp_path / "run"
    result = run_cli("train", "--recipe", recipe, "--data", tiny_data, "--out", out, "--set", "schedule.epochs=2")
    assert result.exit_code == 0, result.output
    for word in ("epoch 1/2", "epoch 2/2", "loss", "top-1 error", "top-5 error", "images/s", "left"):
        assert word in result.output
    assert result.output.rstrip().endswith("next: alexnet export --onnx")
    again = run_cli("train", "--recipe", recipe, "--data", tiny_data, "--out", out)
    assert again.exit_code == 3
    assert f"go on with --resume {out}" in again.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_resume(tmp_path: Path, recipe: Path, tiny_data: Path, number: int) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "alexnet", "train", "--recipe", str(recipe), "--data", str(tiny_data)]
    command += ["--out", str(out), "--set", "schedule.epochs=5000", "--set", "schedule.patience=5000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: alexnet train --resume {out}" in errors
    assert "Traceback" not in errors
    resumed = subprocess.run(
        [sys.executable, "-m", "alexnet", "train", "--resume", str(out), "--set", "a=1"],
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 2
    assert (out / "checkpoint.json").is_file()


def test_missing_data_says_how_to_draw_some(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("train", "--recipe", "quickstart", "--data", tmp_path / "absent", "--out", tmp_path / "run")
    assert result.exit_code == 3
    assert "alexnet data make" in result.output
    assert not (tmp_path / "run").exists()
