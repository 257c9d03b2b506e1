from __future__ import annotations

import os
from pathlib import Path

import pytest

from alexnet.errors import InputError
from alexnet.recipe import Recipe
from alexnet.run import Run, new_run, newest_run


def test_a_run_gives_back_its_recipe_and_labels(tmp_path: Path) -> None:
    run = Run(tmp_path / "a")
    run.begin(Recipe(name="mine", seed=7), ("clock", "fish"))
    assert run.recipe() == Recipe(name="mine", seed=7)
    assert run.labels() == ("clock", "fish")


def test_new_runs_are_numbered_past_the_last(tmp_path: Path) -> None:
    assert new_run(tmp_path / "runs", "quick").path.name == "quick-001"
    (tmp_path / "quick-007").mkdir()
    (tmp_path / "quick-start-009").mkdir()
    assert new_run(tmp_path, "quick").path.name == "quick-008"


def test_the_newest_run_is_the_one_whose_checkpoint_is_youngest(tmp_path: Path) -> None:
    for number, name in enumerate(("b", "a", "c")):
        (tmp_path / name).mkdir()
        path = Run(tmp_path / name).checkpoint_path
        path.write_text("{}")
        os.utime(path, (number, number))
    Run(tmp_path / "c").checkpoint_path.unlink()
    assert newest_run(tmp_path).path.name == "a"


def test_without_a_run_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make train"):
        newest_run(tmp_path / "runs")
    with pytest.raises(InputError, match=r"is not a run: it has no recipe.toml"):
        Run(tmp_path).recipe()
