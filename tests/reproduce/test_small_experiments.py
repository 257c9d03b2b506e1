"""Figure 1 and section 3.3 on a few pictures of 32 pixels: what is trained, what is kept, what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")

from alexnet.errors import DeviceError, InputError
from alexnet.reproduce import lrn, small_training
from alexnet.reproduce.relu import GOAL, STARTS, Setting, four_layers, member
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
    return SmallTrainer(member("relu", rate, data, Setting("scaled")), data, folder, CPU).fit(
        epochs, lambda history: False, uncounted
    )


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
    assert trained(data, tmp_path / "x", 1) == resumed[:1]
    names = ["weights", "sha256"]
    states = [json.loads((tmp_path / name / "checkpoint.json").read_text()) for name in ("whole", "x")]
    assert [states[0][name] for name in names] == [states[1][name] for name in names]


def test_training_lowers_the_error_and_errors_of_ten_crops_are_counted(data: SmallData, tmp_path: Path) -> None:
    trainer = SmallTrainer(member("relu", 0.006, data, Setting("scaled")), data, tmp_path / "x", CPU)
    history = trainer.fit(40, lambda history: False, uncounted)
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


def test_units_start_from_the_same_numbers_with_the_spreads_of_the_start() -> None:
    def weights(unit: Literal["relu", "tanh"], start: str) -> dict[str, torch.Tensor]:
        return dict(four_layers(unit, 32, 10, 3, STARTS[start]).named_parameters())

    one, other = weights("relu", "source"), weights("tanh", "source")
    assert all(torch.equal(one[name], other[name]) for name in one)
    spreads = [float(one[f"{name}.weight"].detach().std()) for name in ("conv1", "conv2", "conv3", "fc4")]
    assert spreads == pytest.approx([0.0001, 0.01, 0.01, 0.1], rel=0.05)
    one, other = weights("relu", "scaled"), weights("tanh", "scaled")
    torch.testing.assert_close(one["conv2.weight"], other["conv2.weight"] * 0.5**0.5)
    assert float(other["conv2.weight"].detach().std()) == pytest.approx(800**-0.5, rel=0.05)
    assert float(one["conv2.bias"].detach().abs().max()) == 0.0


def test_the_scaled_start_keeps_the_size_of_what_passes_through() -> None:
    for unit in ("relu", "tanh"):
        network = four_layers(unit, 32, 10, 0, STARTS["scaled"])
        with torch.no_grad():
            passed = network[:-2](torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        assert 0.3 < float(passed.square().mean().sqrt()) < 2


def test_bfloat16_is_another_setting_and_gives_other_numbers(data: SmallData, tmp_path: Path) -> None:
    def losses(precision: Literal["fp32", "bf16"], folder: str) -> list[float | None]:
        one = member("relu", 0.01, data, Setting("scaled", precision=precision))
        history = SmallTrainer(one, data, tmp_path / folder, CPU).fit(2, lambda history: False, uncounted)
        return [epoch.loss for epoch in history]

    exact, rounded = losses("fp32", "fp32"), losses("bf16", "bf16")
    assert exact != rounded
    assert exact == pytest.approx(rounded, rel=0.05)
    with pytest.raises(InputError, match="trained with other settings"):
        losses("bf16", "fp32")


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
        assert set(sweep) == {f"{rate:g}" for rate in STARTS["source"].rates}
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


def test_a_locally_connected_layer_is_a_convolution_where_its_kernels_are_alike() -> None:
    random = torch.Generator().manual_seed(0)
    kernels, x = torch.randn(4, 3, 3, 3, generator=random), torch.randn(2, 3, 5, 5, generator=random)
    layer = lrn.LocallyConnected(3, 4, 5)
    with torch.no_grad():
        layer.weight.copy_(kernels.reshape(4, 27).T.expand(25, 27, 4))
        layer.bias[2] = 7.0
    expected = torch.nn.functional.conv2d(x, kernels, torch.tensor([0.0, 0.0, 7.0, 0.0]), padding=1)
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        layer.weight[12] = 0.0
    changed = (layer(x) - expected).abs().amax(dim=(0, 1)) > 1e-4
    assert changed.nonzero().tolist() == [[2, 2]]


def test_normalisation_adds_no_weights_and_follows_the_files_of_2012() -> None:
    plain, normalised = (lrn.local_network(value, 24, 10, 0, 1.0) for value in (False, True))
    assert [(name, list(weight.shape)) for name, weight in plain.named_parameters()] == [
        ("conv1.weight", [64, 3, 5, 5]),
        ("conv1.bias", [64]),
        ("conv2.weight", [64, 64, 5, 5]),
        ("conv2.bias", [64]),
        ("local3.weight", [36, 576, 32]),
        ("local3.bias", [32, 6, 6]),
        ("local4.weight", [36, 288, 32]),
        ("local4.bias", [32, 6, 6]),
        ("fc5.weight", [10, 1152]),
        ("fc5.bias", [10]),
    ]
    assert all(map(torch.equal, plain.parameters(), normalised.parameters()))
    assert lrn.local_network(True, 24, 10, 0, 0.25).conv2.weight.detach().std() == pytest.approx(0.02, rel=0.1)
    assert float(plain.conv2.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    # cuda-convnet's response normalisation divides alpha by the size, as torch's own does.
    a = torch.rand(2, 64, 3, 3) * 300
    expected = torch.nn.functional.local_response_norm(a, 5, alpha=0.001, beta=0.75, k=1.0)
    torch.testing.assert_close(normalised.lrn1(a), expected)


def test_the_last_three_layers_decay_and_biases_learn_at_twice_the_rate(data: SmallData, tmp_path: Path) -> None:
    one = lrn.member("with", data, lrn.Budget(6, 32, 0.5), 0)
    groups = {}
    trainer = SmallTrainer(one, data, tmp_path / "x", CPU)
    for (name, _), group in zip(trainer.network.named_parameters(), trainer.sgd.param_groups, strict=True):
        groups[name] = (group["weight_decay"], group["rate"])
    assert groups["conv2.weight"] == (0.0, 1.0)
    assert groups["local3.weight"] == groups["fc5.weight"] == (0.004, 1.0)
    assert {groups[name] for name in groups if name.endswith("bias")} == {(0.0, 2.0)}
    assert one.recipe.schedule.drop_after == (5,)


def test_lrn_prints_both_errors_beside_the_papers_and_resumes(
    pictures: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("reproduce", "lrn", "--data", pictures, "--epochs", "2", "--width", "0.25", "--device", "cpu", "-o")
    done = run_cli(*asked, tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert "13 % of CIFAR-10's test pictures" in done.output
    epoch, calls = SmallTrainer._epoch, [0]

    def killed(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        epoch(*arguments)

    monkeypatch.setattr(SmallTrainer, "_epoch", killed)
    assert run_cli(*asked, tmp_path / "x").exit_code != 0
    assert run_cli(*asked, tmp_path / "x").exit_code == 0
    assert calls[0] == 5
    whole, resumed = (values(tmp_path / name, "lrn") for name in ("whole", "x"))
    assert resumed == whole
    assert [len(whole["val_error"][name]) for name in ("without", "with")] == [2, 2]
    assert [row["the paper's"] for row in whole["table"]] == ["13 %", "11 %"]
    assert whole["facts"]["width"] == "0.25"
