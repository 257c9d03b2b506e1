from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from alexnet.errors import InputError, Interrupted, RecipeError, TrainingError
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import load_checkpoint
from alexnet.train.report import EpochReport, clock
from alexnet.train.samples import load_samples
from alexnet.train.session import Count, Reporting, begin, resume


@dataclass
class Witness:
    """Reporting that remembers what it was told and asks to stop after `stop_after` steps."""

    stop_after: int = -1
    steps: int = 0
    reports: list[EpochReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def reporting(self) -> Reporting:
        def loading(part: str) -> Count:
            return lambda done, total: None

        def step(batch: int, batches: int, loss: float) -> None:
            self.steps += 1

        return Reporting(
            lambda text: None,
            loading,
            step,
            self.reports.append,
            self.warnings.append,
            lambda: self.steps == self.stop_after,
        )


def tensors(run: Run) -> dict[str, torch.Tensor]:
    return load_checkpoint(run).tensors


def test_a_run_leaves_everything_its_directory_promises(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    run, witness = Run(tmp_path / "run"), Witness()
    state = begin(tiny_recipe, tiny_data, run, witness.reporting()).fit()
    assert (state.epoch, state.finished) == (2, True)
    assert run.recipe().network.classes == 3
    assert run.labels() == ("across", "down", "noise")
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]) >= {"loss", "val_top1_error", "val_top5_error", "learning_rate", "images_per_second"}
    samples = load_samples(run)
    assert samples.pictures.shape == (9, 72, 72, 3)
    assert not list(run.path.glob("*.part"))
    assert [report.epoch for report in witness.reports] == [1, 2]
    assert "top-1 error" in witness.reports[0].line(1)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_stopped_and_resumed_equals_never_stopped_bit_for_bit(
    tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path, stop_after: int
) -> None:
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    begin(tiny_recipe, tiny_data, whole, Witness().reporting()).fit()
    with pytest.raises(Interrupted, match=r"go on with: alexnet train --resume .*parts"):
        begin(tiny_recipe, tiny_data, parts, Witness(stop_after).reporting()).fit()
    resume(parts, None, Witness().reporting()).fit()
    expected, found = tensors(whole), tensors(parts)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    losses = [
        [json.loads(line)["loss"] for line in run.metrics_path.read_text().splitlines()] for run in (whole, parts)
    ]
    assert losses[0] == losses[1]


def test_a_metrics_line_past_the_checkpoint_is_forgotten(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(Interrupted):
        begin(tiny_recipe, tiny_data, run, Witness(4).reporting()).fit()
    with run.metrics_path.open("a") as file:
        file.write('{"epoch": 2, "loss": 99}\n{"epoch": 3, "lo')
    resume(run, tiny_data, Witness().reporting()).fit()
    assert [json.loads(line)["epoch"] for line in run.metrics_path.read_text().splitlines()] == [1, 2]


def test_the_net_learns_its_training_set(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    recipe = replace(
        tiny_recipe,
        network=replace(tiny_recipe.network, dropout=0.0),
        start=replace(tiny_recipe.start, bias=(0.0,) * 8),
        schedule=replace(tiny_recipe.schedule, epochs=40, patience=40),
    )
    witness = Witness()
    begin(recipe, tiny_data, Run(tmp_path / "run"), witness.reporting()).fit()
    assert witness.reports[-1].loss < 0.5 * witness.reports[0].loss


def test_a_loss_that_is_not_finite_stops_and_names_the_rate(
    tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path
) -> None:
    recipe = replace(tiny_recipe, sgd=replace(tiny_recipe.sgd, learning_rate=1e6))
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at epoch \d, batch \d.*--set sgd.learning_rate="):
        begin(recipe, tiny_data, Run(tmp_path / "run"), Witness().reporting()).fit()


def test_a_recipe_of_other_classes_is_refused(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    recipe = replace(tiny_recipe, network=replace(tiny_recipe.network, classes=1000))
    with pytest.raises(RecipeError, match=r"has 1000 classes, .* has 3; .*--set network.classes=3"):
        begin(recipe, tiny_data, Run(tmp_path / "run"), Witness().reporting())
    assert not (tmp_path / "run").exists()


def test_resuming_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        resume(Run(tmp_path), None, Witness().reporting())


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "00:00"), (75, "01:15"), (3700, "1:01:40"), (-5, "00:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_best_epoch_is_kept_beside_the_last(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    recipe = replace(tiny_recipe, schedule=replace(tiny_recipe.schedule, epochs=6))
    run, witness = Run(tmp_path / "run"), Witness()
    begin(recipe, tiny_data, run, witness.reporting()).fit()
    errors = [report.errors.top1 for report in witness.reports]
    assert load_checkpoint(run, best=True).state.epoch == errors.index(min(errors)) + 1
    assert load_checkpoint(run).state.epoch == 6
    assert len(list(run.path.glob("checkpoint-*.safetensors"))) == 2


def test_a_net_that_stays_at_chance_is_said_so(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    recipe = replace(
        tiny_recipe,
        start=replace(tiny_recipe.start, spread=(1e-6,) * 8, bias=(0.0,) * 8),
        schedule=replace(tiny_recipe.schedule, epochs=3),
    )
    witness = Witness()
    begin(recipe, tiny_data, Run(tmp_path / "run"), witness.reporting()).fit()
    (warning,) = witness.warnings
    assert "ln(3) = 1.099 for 3 epochs" in warning
    assert "start.spread" in warning


def test_each_epoch_logs_the_layers_and_the_wait_for_data(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    run = Run(tmp_path / "run")
    begin(tiny_recipe, tiny_data, run, Witness().reporting()).fit()
    line = json.loads(run.metrics_path.read_text().splitlines()[-1])
    assert list(line["layers"]) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    weights = tensors(run)
    ratio = float(weights["velocity.fc7.weight"].norm() / weights["weights.fc7.weight"].norm())
    assert line["layers"]["fc7"]["update"] == pytest.approx(ratio, rel=1e-5)
    assert 0 <= line["data_wait"] <= 1
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert events.Scalars("update/fc7")[-1].value == pytest.approx(ratio, rel=1e-5)


def test_the_sources_late_freeze_leaves_conv1_as_it_was(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    schedule = replace(tiny_recipe.schedule, epochs=2, freeze_conv1_after=1)
    recipe = replace(tiny_recipe, schedule=schedule, sgd=replace(tiny_recipe.sgd, momentum=0.0))
    run, seen = Run(tmp_path / "run"), []
    trainer = begin(recipe, tiny_data, run, Witness().reporting())
    trainer.on_epoch = lambda report: seen.append(
        [trainer.network.get_parameter(f"{name}.weight").detach().clone() for name in ("conv1", "fc8")]
    )
    trainer.fit()
    assert torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][1], seen[1][1])


def test_bfloat16_trains_and_resumes_bit_for_bit(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    recipe = replace(tiny_recipe, compute=replace(tiny_recipe.compute, precision="bf16"))
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    begin(recipe, tiny_data, whole, Witness().reporting()).fit()
    with pytest.raises(Interrupted):
        begin(recipe, tiny_data, parts, Witness(2).reporting()).fit()
    resume(parts, None, Witness().reporting()).fit()
    assert all(torch.equal(tensors(whole)[name], value) for name, value in tensors(parts).items())
    assert {value.dtype for value in tensors(parts).values()} == {torch.float32}


def test_init_from_takes_all_but_the_last_layer(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    source = Run(tmp_path / "source")
    begin(tiny_recipe, tiny_data, source, Witness().reporting()).fit()
    recipe = replace(tiny_recipe, seed=5)
    trainer = begin(recipe, tiny_data, Run(tmp_path / "run"), Witness().reporting(), init_from=source)
    stored = tensors(source)
    for name, weight in trainer.network.named_parameters():
        assert torch.equal(weight, stored[f"weights.{name}"]) == (not name.startswith("fc8")), name
    wider = replace(recipe, network=replace(recipe.network, width=0.125))
    with pytest.raises(TrainingError, match=r"for conv1.weight, the recipe expects \[12, 3, 11, 11\]"):
        begin(wider, tiny_data, Run(tmp_path / "wide"), Witness().reporting(), init_from=source)


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_weights(tmp_path: Path, tiny_recipe: Recipe, tiny_data: Path) -> None:
    # The compiler draws dropout in its own order, so there is none here.
    plain = replace(tiny_recipe, network=replace(tiny_recipe.network, dropout=0.0))
    compiled = replace(plain, compute=replace(plain.compute, compile=True))
    runs = [Run(tmp_path / name) for name in ("plain", "compiled")]
    for recipe, run in zip((plain, compiled), runs, strict=True):
        begin(recipe, tiny_data, run, Witness().reporting()).fit()
    one, other = map(tensors, runs)
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5
