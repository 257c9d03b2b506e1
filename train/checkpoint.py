"""Checkpoints: weights and optimizer state in safetensors, everything else in JSON, never pickle.

The tensors are written first, under a name of their own; `checkpoint.json`, renamed over the old one
last, names the current file with its digest. A run killed at any moment keeps its last whole checkpoint.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from alexnet.architecture import layer_table
from alexnet.errors import InputError, TrainingError
from alexnet.files import atomic_write, read_json, sha256_of, write_json
from alexnet.run import Run
from alexnet.train.network import Network

KEEP = 2
BEST_WEIGHTS, BEST_STATE = "best.safetensors", "best.json"


@dataclass(frozen=True)
class TrainingState:
    """Where training stands. Every random draw follows from (seed, epoch, batch), so no generator is stored.

    `epoch` counts finished epochs and `batch` the finished batches of the next one; `learning_rate` is the
    current one; `best_error` the lowest validation top-1 error so far, `stale` the epochs since, `drops`
    the divisions of the learning rate so far; `seconds` the time spent training.
    """

    epoch: int = 0
    batch: int = 0
    learning_rate: float = 0.01
    best_error: float = 1.0
    stale: int = 0
    drops: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    finished: bool = False
    weights: str = ""
    sha256: str = ""


@dataclass
class Checkpoint:
    """A state with its tensors: `weights.NAME` for parameters and `velocity.NAME` for the update's memory."""

    state: TrainingState
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(run: Run, checkpoint: Checkpoint, best: bool = False) -> TrainingState:
    """Write a checkpoint and return its state with file and digest; older ones beyond KEEP are removed.

    With `best` a copy stays as the run's best, which later checkpoints do not remove.
    """
    state = checkpoint.state
    name = f"checkpoint-{state.epoch:05d}-{state.batch:06d}.safetensors"
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.tensors.items()}
    with atomic_write(run.path / name) as file:
        save_file(tensors, file.name)
    state = replace(state, weights=name, sha256=sha256_of(run.path / name))
    write_json(run.checkpoint_path, asdict(state))
    if best:
        with (run.path / name).open("rb") as source, atomic_write(run.path / BEST_WEIGHTS) as file:
            shutil.copyfileobj(source, file)
        write_json(run.path / BEST_STATE, asdict(replace(state, weights=BEST_WEIGHTS)))
    for old in sorted(run.path.glob("checkpoint-*.safetensors"))[:-KEEP]:
        if old.name != name:
            old.unlink()
    return state


def load_state(run: Run, best: bool = False) -> TrainingState:
    """Return the state of the run's current (or best) checkpoint; InputError when there is none or it is damaged."""
    path = run.path / BEST_STATE if best else run.checkpoint_path
    if not path.is_file():
        raise InputError(f"{run.path} has no checkpoint yet; train it with: alexnet train --resume {run.path}")
    values: Any = read_json(path)
    try:
        return TrainingState(**values)
    except TypeError as error:
        raise InputError(f"{path} is not a checkpoint's state ({error}); train again") from None


def load_checkpoint(run: Run, best: bool = False) -> Checkpoint:
    """Return the run's current (or best) checkpoint, its digest compared first; InputError when it does not hold."""
    state = load_state(run, best)
    path = run.path / Path(state.weights).name
    if not path.is_file():
        raise InputError(f"{run.path} names {path.name}, which is missing; train again or restore the file")
    digest = sha256_of(path)
    if digest != state.sha256:
        raise InputError(
            f"{path} has sha256 {digest[:12]}..., {run.checkpoint_path.name} says {state.sha256[:12]}...: "
            "the file is truncated or was changed; restore it or train again"
        )
    try:
        return Checkpoint(state, load_file(path))
    except SafetensorError as error:
        raise InputError(f"{path} is not safetensors ({error}); restore it or train again") from None


def weights_digest(run: Run) -> str:
    """Return the SHA-256 of the current checkpoint's tensors, as its state records it."""
    return load_state(run).sha256


def load_network(run: Run) -> Network:
    """Return the run's network with its current weights, in test mode; TrainingError when they do not fit."""
    network = Network(layer_table(run.recipe().network))
    load_weights(network, load_checkpoint(run), run)
    return network.eval()


def load_weights(network: Network, checkpoint: Checkpoint, run: Run) -> None:
    """Copy a checkpoint's weights into `network`; TrainingError names the first one that does not fit."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            stored = checkpoint.tensors.get(f"weights.{name}")
            if stored is None or stored.shape != parameter.shape:
                found = "nothing" if stored is None else f"{list(stored.shape)}"
                raise TrainingError(
                    f"the checkpoint of {run.path} holds {found} for {name}, the recipe expects "
                    f"{list(parameter.shape)}; use the recipe it was trained with"
                )
            parameter.copy_(stored)
