from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet.errors import InputError, TrainingError
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import (
    Checkpoint,
    TrainingState,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    weights_digest,
)
from alexnet.train.network import Network


def save(path: Path, epoch: int) -> Run:
    run = Run(path)
    path.mkdir(exist_ok=True)
    tensors = {"weights.a": torch.full((3,), float(epoch)), "velocity.a": torch.zeros(3)}
    save_checkpoint(run, Checkpoint(TrainingState(epoch=epoch), tensors))
    return run


def test_the_last_one_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        run = save(tmp_path / "run", epoch)
    loaded = load_checkpoint(run)
    assert loaded.state.epoch == 3
    assert loaded.tensors["weights.a"].tolist() == [3.0] * 3
    assert weights_digest(run) == loaded.state.sha256
    assert len(list(run.path.glob("*.safetensors"))) == 2


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    run = save(tmp_path / "run", 1)
    weights = run.path / load_checkpoint(run).state.weights
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"truncated or was changed"):
        load_checkpoint(run)
    weights.unlink()
    with pytest.raises(InputError, match="which is missing"):
        load_checkpoint(run)


def test_a_state_cannot_name_a_file_outside_the_run(tmp_path: Path) -> None:
    run = save(tmp_path / "run", 1)
    state = json.loads(run.checkpoint_path.read_text())
    inside = run.path / state["weights"]
    inside.rename(tmp_path / "outside.safetensors")
    run.checkpoint_path.write_text(json.dumps({**state, "weights": "../outside.safetensors"}))
    with pytest.raises(InputError, match="which is missing"):
        load_checkpoint(run)


def test_no_checkpoint_or_a_strange_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no checkpoint yet"):
        load_checkpoint(Run(tmp_path))
    Run(tmp_path).checkpoint_path.write_text('{"step": 1}')
    with pytest.raises(InputError, match="is not a checkpoint's state"):
        load_checkpoint(Run(tmp_path))


def test_weights_of_another_net_are_refused_by_name(tmp_path: Path, tiny_recipe: Recipe) -> None:
    from dataclasses import replace

    from alexnet.architecture import layer_table

    network = Network(layer_table(replace(tiny_recipe.network, classes=3)))
    run = save(tmp_path / "run", 1)
    with pytest.raises(TrainingError, match=r"holds nothing for conv1.weight, the recipe expects \[6, 3, 11, 11\]"):
        load_weights(network, load_checkpoint(run), run)


KILLED = """
import os, signal, sys
import torch
from alexnet import files
from alexnet.run import Run
from alexnet.train import checkpoint
from pathlib import Path
run = Run(Path(sys.argv[1]))
calls = 0
def killed(path):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
moments = [(files, "fsync_folder"), (checkpoint, "sha256_of"), (checkpoint, "write_json"), (checkpoint, "save_file")]
for module, name in moments:
    inner = getattr(module, name)
    def step(*arguments, inner=inner):
        killed(name)
        result = inner(*arguments)
        killed(name)
        return result
    setattr(module, name, step)
tensors = {"weights.a": torch.full((1000,), 2.0)}
checkpoint.save_checkpoint(run, checkpoint.Checkpoint(checkpoint.TrainingState(epoch=2), tensors), True)
"""


@pytest.mark.parametrize("moment", [1, 2, 4, 5, 6, 7, 9])
def test_killed_in_the_middle_of_a_save_a_whole_checkpoint_is_left(tmp_path: Path, moment: int) -> None:
    run = save(tmp_path / "run", 1)
    command = [sys.executable, "-c", KILLED, str(run.path), str(moment)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    loaded = load_checkpoint(run)
    value = {1: 1.0, 2: 2.0}[loaded.state.epoch]
    assert set(loaded.tensors["weights.a"].tolist()) == {value}
