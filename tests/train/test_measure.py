from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.recipe import Recipe
from alexnet.train.measure import fit_line, step_seconds
from alexnet.train.mesh import join_world, leave_world
from alexnet.train.plan import Compute
from tests.train.ranks import run_ranks


def with_classes(recipe: Recipe) -> Recipe:
    return replace(recipe, network=replace(recipe.network, classes=3))


def test_two_steps_make_a_line() -> None:
    found = fit_line(32, 0.5, 128, 1.7)
    assert (found.seconds_per_picture, found.seconds_per_step) == (pytest.approx(0.0125), pytest.approx(0.1))
    assert fit_line(32, 0.3, 128, 1.28) == Compute(0.01, 0.0)
    assert fit_line(32, 1.3, 128, 1.28) == Compute(0.0, 1.28)


def test_a_measurement_becomes_a_plan_and_leaves_nothing(
    run_cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("network.width=0.0625", "network.crop=64", "network.classes=3", "data.picture=72", "sgd.batch=8")
    more = [text for setting in settings for text in ("--set", setting)]
    found = run_cli("plan", "--gpus", "2", "--network", "1", "--measure", "--threads", "1", "--json", *more)
    assert found.exit_code == 0, found.output
    compute = json.loads(found.output)["compute"]
    assert compute["seconds_per_picture"] + compute["seconds_per_step"] > 0
    assert list(tmp_path.iterdir()) == []


def measuring_rank(rank: int, out: Path, recipe: Recipe) -> None:
    world = join_world(recipe.network.columns, split=True)
    (out / f"{rank}").write_text(str(step_seconds(recipe, world, steps=2)))
    leave_world()


def test_real_ranks_measure_their_steps_together(tmp_path: Path, tiny_recipe: Recipe) -> None:
    run_ranks(measuring_rank, 2, tmp_path, with_classes(tiny_recipe))
    assert all(float((tmp_path / f"{rank}").read_text()) > 0 for rank in (0, 1))
