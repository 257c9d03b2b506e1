"""Figure 1 and section 3.3 on a few pictures of 32 pixels: what is trained, what is kept, what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")

from alexnet.errors import DeviceError, InputError
from alexnet.reproduce import small_training
from alexnet.reproduce.relu import GOAL, RATES, four_layers, member
from alexnet.reproduce.small_data import SmallData, open_small_data
from alexnet.reproduce.small_training import Epoch, SmallTrainer, epochs_to
from alexnet.reproduce.training_facts import choose_device

Cli = Callable[..., Result]
CPU = torch.device("cpu")


def uncounted(done: int, total: int | None) -> None:
    pass


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from alexnet.cli import alexnet

    folder = tmp_path_factory.mktemp("small") / "data"
    made = CliRunner().invoke(alexnet, f"data make {folder} --size 32 --train 60 --val 20 --workers 1".split())
    assert made.exit_code == 0, made.output
    return folder


@pytest.fixture(scope="module")
def data(pictures: Path) -> SmallData:
    return open_small_data(pictures, None, 0, lambda part: uncounted)


def values(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    page = (folder / f"{name}.html").read_text()
    for text in found["facts"].values():
        assert text in page
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return found


def trained(data: SmallData, folder: Path, epochs: int, rate: float = 0.02) -> list[Epoch]:
    return SmallTrainer(member("relu", rate, data, 0), data, folder, CPU).fit(epochs, lambda history: False, uncounted)


def figures(history: list[Epoch]) -> list[tuple[float, float, float | None]]:
    return [(epoch.train_error, epoch.val_error, epoch.loss) for epoch in history]


def test_a_member_that_was_killed_goes_on_to_the_same_numbers(
    data: SmallData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(data, tmp_path / "whole", 3)
    save = small_training.save_checkpoint
    monkeypatch.setattr(small_training, "save_checkpoint", lambda *arguments: 1 / 0)
    assert trained(data, tmp_path / "x", 0) == []
    # Killed after the first epoch's entry and before its checkpoint.
    with pytest.raises(ZeroDivisionError):
        trained(data, tmp_path / "x", 3)
    monkeypatch.setattr(small_training, "save_checkpoint", save)
    first = trained(data, tmp_path / "x", 2)
    assert figures(first) == figures(whole)[:2]
    resumed = trained(data, tmp_path / "x", 3)
    assert resumed[:2] == first
    assert figures(resumed) == figures(whole)
    names = ["weights", "sha256"]
    states = [json.loads((tmp_path / name / "checkpoint.json").read_text()) for name in ("whole", "x")]
    assert [states[0][name] for name in names] == [states[1][name] for name in names]


def test_training_lowers_the_error_and_errors_of_ten_crops_are_counted(data: SmallData, tmp_path: Path) -> None:
    trainer = SmallTrainer(member("relu", 0.02, data, 0), data, tmp_path / "x", CPU)
    history = trainer.fit(15, lambda history: False, uncounted)
    losses = [epoch.loss for epoch in history]
    assert losses[-1] < losses[0] * 0.7  # type: ignore[operator]
    # The crop is the whole picture: ten of them are five times the picture and its mirror.
    centre, ten = trainer.errors(1), trainer.errors(10)
    assert centre.top1 == history[-1].val_error
    assert ten.loss != centre.loss


def test_other_settings_or_data_are_refused(data: SmallData, pictures: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "x", 1)
    with pytest.raises(InputError, match="trained with other settings or data; give another --out"):
        trained(data, tmp_path / "x", 1, rate=0.01)
    fewer = open_small_data(pictures, 30, 0, lambda part: uncounted)
    with pytest.raises(InputError, match="other settings or data"):
        trained(fewer, tmp_path / "x", 1)


def test_a_loss_that_is_not_finite_ends_the_member(data: SmallData, tmp_path: Path) -> None:
    history = trained(data, tmp_path / "x", 5, rate=1e30)
    assert figures(history)[-1] == (1.0, 1.0, None)
    assert len(history) < 5
    assert figures(trained(data, tmp_path / "x", 5, rate=1e30)) == figures(history)


def test_a_part_of_the_pictures_is_drawn_by_the_seed(data: SmallData, pictures: Path) -> None:
    parts = [open_small_data(pictures, 30, seed, lambda part: uncounted) for seed in (0, 0, 1)]
    assert parts[0].train.names == parts[1].train.names != parts[2].train.names
    assert set(parts[0].train.names) < set(data.train.names)
    assert np.array_equal(parts[0].statistics.mean, data.statistics.mean)
    assert len(data.train.labels) == 60


def test_a_folder_of_pictures_is_read_at_32_pixels(tmp_path: Path, run_cli: Cli) -> None:
    from PIL import Image

    for part in ("train", "val"):
        for name in "ab":
            (tmp_path / "d" / part / name).mkdir(parents=True)
            for place in range(2):
                Image.new("RGB", (40, 50), (place * 90, 20, 30)).save(tmp_path / "d" / part / name / f"{place}.png")
    done = run_cli("reproduce", "relu", "--data", tmp_path / "d", "--epochs", "1", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    (tmp_path / "d" / "val" / "a" / "0.png").unlink()
    done = run_cli("reproduce", "relu", "--data", tmp_path / "d", "--epochs", "1", "-o", tmp_path / "o")
    assert (done.exit_code, "other settings or data" in done.stderr) == (3, True)


def test_epochs_to_an_error() -> None:
    history = [Epoch(error, 1.0, 0.1, 1.0) for error in (0.5, 0.25, 0.3)]
    assert epochs_to(history, GOAL) == 2
    assert epochs_to(history, 0.2) is None


def test_both_units_start_from_the_same_weights() -> None:
    one, other = (dict(four_layers(unit, 32, 10, 3).named_parameters()) for unit in ("relu", "tanh"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert float(one["conv2.weight"].detach().std()) == pytest.approx(1 / 20, rel=0.05)
    assert float(one["conv2.bias"].detach().abs().max()) == 0.0


def test_relu_chooses_the_best_rate_and_trains_no_member_twice(
    pictures: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("reproduce", "relu", "--data", pictures, "--epochs", "4", "--seed", "1", "--device", "cpu", "-o", tmp_path)
    done = run_cli(*asked)
    assert done.exit_code == 0, done.output
    assert "six times faster" in done.output
    found = values(tmp_path, "relu")
    for unit in ("relu", "tanh"):
        sweep = found["sweep"][unit]
        assert set(sweep) == {f"{rate:g}" for rate in RATES}
        assert sweep[f"{found['learning_rate'][unit]:g}"] == min(sweep.values()) == found["train_error"][unit][2]
        assert len(found["train_error"][unit]) == 4 or found["train_error"][unit][-1] <= GOAL
    assert (found["facts"]["seed"], found["facts"]["training pictures"]) == ("1", "60")
    monkeypatch.setattr(SmallTrainer, "_epoch", None)
    page = (tmp_path / "relu.html").read_bytes()
    assert run_cli(*asked).exit_code == 0
    assert (tmp_path / "relu.html").read_bytes() == page


def test_a_gpu_asked_for_in_vain() -> None:
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(DeviceError, match="no NVIDIA GPU"):
            choose_device("cuda")
