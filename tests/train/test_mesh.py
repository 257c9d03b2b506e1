"""Training over real ranks, started by torchrun as its user would, is training on one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet.errors import InputError, Interrupted, TrainingError
from alexnet.recipe import Recipe
from alexnet.recipe_file import load_recipe
from alexnet.run import Run
from alexnet.train import mesh
from alexnet.train.checkpoint import load_checkpoint, load_state
from alexnet.train.mesh import World, join_world, leave_world
from alexnet.train.session import begin, resume
from tests.train.ranks import run_ranks
from tests.train.test_loop import Witness

RECIPE = """
name = "tiny"
[network]
width = 0.0625
crop = 64
classes = 0
dropout = 0.0
[data]
picture = 72
[sgd]
batch = 7
[schedule]
epochs = {epochs}
patience = 9999
"""


def command(ranks: int, *arguments: str) -> list[str]:
    start = ["-m", "alexnet"]
    if ranks > 1:
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m", "alexnet"]
    return [sys.executable, *start, "train", "--threads", "1", *arguments]


def train(tmp_path: Path, data: Path, name: str, ranks: int, *more: str, epochs: int = 2) -> Run:
    recipe = tmp_path / f"tiny{epochs}.toml"
    recipe.write_text(RECIPE.format(epochs=epochs))
    run = tmp_path / name
    arguments = ["--recipe", str(recipe), "--data", str(data), "--out", str(run), *more]
    done = subprocess.run(command(ranks, *arguments), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/") == 1, "only the first rank speaks"
    return Run(run)


def difference(first: Run, second: Run) -> float:
    """Return the largest difference of any weight or velocity of two runs."""
    one, other = load_checkpoint(first).tensors, load_checkpoint(second).tensors
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def figures(run: Run) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    return [(line["val_top1_error"], line["val_top5_error"]) for line in lines]


def losses(run: Run) -> list[float]:
    return [json.loads(line)["loss"] for line in run.metrics_path.read_text().splitlines()]


def norms(run: Run) -> list[float]:
    """Return |w| and |dw|/|w| of every layer after every epoch."""
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    return [value for line in lines for layer in line["layers"].values() for value in layer.values()]


@pytest.mark.parametrize(
    ("ranks", "columns"),
    [
        pytest.param(2, "split", id="1 x 2", marks=pytest.mark.slow),
        pytest.param(3, "merged", id="3 x 1", marks=pytest.mark.slow),
        pytest.param(4, "split", id="2 x 2"),
    ],
)
def test_a_mesh_trains_to_the_weights_of_one_process(tmp_path: Path, tiny_data: Path, ranks: int, columns: str) -> None:
    alone = train(tmp_path, tiny_data, "alone", 1)
    meshed = train(tmp_path, tiny_data, "mesh", ranks, "--columns", columns)
    # 21 pictures in batches of 7 for two epochs: 6 steps, uneven shares on every rank.
    assert difference(alone, meshed) < 1e-5
    assert figures(alone) == figures(meshed)
    for theirs, ours in zip(norms(alone), norms(meshed), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert len(load_state(meshed).columns) == (2 if columns == "split" else 0)


def test_a_run_goes_on_split_or_merged_however_it_was_saved(tmp_path: Path, tiny_data: Path) -> None:
    whole = train(tmp_path, tiny_data, "whole", 1, epochs=2)
    for name, first, then in (("a", 1, 2), ("b", 2, 1)):
        run = train(tmp_path, tiny_data, name, first, *(("--columns", "split") if first == 2 else ()), epochs=1)
        run.recipe_path.write_text(run.recipe_path.read_text().replace("epochs = 1", "epochs = 2"))
        state = json.loads(run.checkpoint_path.read_text())
        run.checkpoint_path.write_text(json.dumps({**state, "finished": False}))
        split = ("--columns", "split") if then == 2 else ()
        done = subprocess.run(command(then, "--resume", str(run.path), *split), capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert difference(whole, run) < 1e-5


def leg(run: Run, data: Path, recipe: Recipe, stop_after: int) -> None:
    """Begin the run or go on with it, until so many steps are made; -1 for the end."""
    world = join_world(recipe.network.columns, split=False)
    reporting = Witness(stop_after).reporting()
    try:
        if run.checkpoint_path.exists():
            trainer = resume(run, data, reporting, world)
        else:
            trainer = begin(recipe, data, run, reporting, world)
        with contextlib.suppress(Interrupted):
            trainer.fit()
    finally:
        leave_world()


def leg_of_a_rank(rank: int, out: Path, *arguments: Any) -> None:
    leg(*arguments)


def test_a_run_whose_data_ranks_change_amid_its_epochs_makes_the_same_updates(tmp_path: Path, tiny_data: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(epochs=3))
    recipe = load_recipe(str(path), ())
    whole, changed = Run(tmp_path / "whole"), Run(tmp_path / "changed")
    leg(whole, tiny_data, recipe, -1)
    # Three steps an epoch: one rank stops in the first, two go on into the second, one finishes.
    leg(changed, tiny_data, recipe, 2)
    assert (load_state(changed).epoch, load_state(changed).batch) == (0, 2)
    run_ranks(leg_of_a_rank, 2, tmp_path, changed, tiny_data, recipe, 2)
    assert (load_state(changed).epoch, load_state(changed).batch) == (1, 1)
    leg(changed, tiny_data, recipe, -1)
    assert difference(whole, changed) < 1e-5
    assert figures(whole) == figures(changed)
    lines = [json.loads(line) for line in changed.metrics_path.read_text().splitlines()]
    assert [(line["data_ranks"], line["column_ranks"]) for line in lines] == [(2, 1), (1, 1), (1, 1)]
    assert [line["loss"] for line in lines] == pytest.approx(losses(whole), rel=1e-5)


def test_shares_hold_every_picture_once() -> None:
    for number in (0, 1, 5, 128, 1001):
        for ranks in (1, 2, 3, 8):
            parts = [list(range(number))[World(rank, ranks).share(number)] for rank in range(ranks)]
            assert [place for part in parts for place in part] == list(range(number))


def test_ranks_that_cannot_hold_the_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"needs a multiple of 2 ranks, found 3; start it with: torchrun"):
        join_world(2, split=True)


def test_ranks_that_do_not_meet_end_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rank 1 of two finds nobody at the meeting point.
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(mesh, "GATHERING", timedelta(seconds=1))
    with pytest.raises(TrainingError, match=r"the 2 ranks did not all meet .*; start them again"):
        join_world(2, split=True)


def test_a_rank_that_dies_takes_the_others_down_with_one_line(tmp_path: Path, tiny_data: Path) -> None:
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.format(epochs=5000))
    arguments = ["--recipe", str(recipe), "--data", str(tiny_data), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "2"}
    # Started by hand, as torchrun itself would end the other ranks.
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        environment["MASTER_PORT"] = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            command(1, *arguments, "--columns", "split"),
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert ranks[0].stdout is not None
    for line in ranks[0].stdout:
        if line.startswith("epoch"):
            break
    ranks[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, errors = ranks[0].communicate(timeout=30)
    assert time.monotonic() - began < 30
    assert ranks[0].returncode == 12
    (message,) = [line for line in errors.splitlines() if line.startswith("Error:")]
    assert "this rank lost another one" in message
    assert "Traceback" not in errors
    assert load_checkpoint(Run(tmp_path / "run")).state.epoch >= 1


@pytest.mark.gpu
def test_the_network_trains_on_the_gpu(tmp_path: Path, tiny_data: Path) -> None:
    assert torch.cuda.is_available()
    run = train(tmp_path, tiny_data, "gpu", 1)
    assert load_state(run).finished
