"""Checkpoints: weights and optimizer state in safetensors, everything else in JSON, never pickle.

The tensors are written first, under a name of their own; `checkpoint.json`, renamed over the old one
last, names the current file with its digest. A run killed at any moment keeps its last whole checkpoint.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from alexnet.errors import InputError, TrainingError
from alexnet.files import atomic_write, read_json, sha256_of, write_json
from alexnet.run import Run
from alexnet.train.columns import merge_states
from alexnet.train.network import Network

KEEP = 2
BEST_WEIGHTS, BEST_STATE = "best.safetensors", "best.json"


@dataclass(frozen=True)
class TrainingState:
    """Where training stands. Every random draw follows from (seed, epoch, batch), so no generator is stored.

    `epoch` counts finished epochs and `batch` the finished batches of the next one; `learning_rate` is the
    current one; `best_error` the lowest validation top-1 error so far, `stale` the epochs since, `drops`
    the divisions of the learning rate so far; `seconds` the time spent training. `weights` is the file of a merged
    network; a split one has a (file, sha256) for each of its `columns`, and `sha256` is that of their digests.
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
    columns: tuple[tuple[str, str], ...] = ()


@dataclass
class Checkpoint:
    """A state with its tensors: `weights.NAME` for parameters and `velocity.NAME` for the update's memory."""

    state: TrainingState
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(run: Run, checkpoint: Checkpoint, best: bool = False) -> TrainingState:
    """Write a merged checkpoint and return its state with file and digest; older ones beyond KEEP are removed.

    With `best` a copy stays as the run's best, which later checkpoints do not remove.
    """
    name = f"{_stem(checkpoint.state)}.safetensors"
    write_tensors(run.path / name, checkpoint.tensors)
    state = replace(checkpoint.state, weights=name, sha256=sha256_of(run.path / name), columns=())
    return _commit(run, state, best)


def column_file(state: TrainingState, column: int, columns: int) -> str:
    """Return the name of one column's file at a state's place."""
    return f"{_stem(state)}-column{column}of{columns}.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically."""
    with atomic_write(path) as file:
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, file.name)


def commit_columns(run: Run, state: TrainingState, columns: int, best: bool = False) -> TrainingState:
    """Make the columns' files, all of them written, the run's checkpoint; return its state with files and digests."""
    names = [column_file(state, column, columns) for column in range(columns)]
    digests = [sha256_of(run.path / name) for name in names]
    together = hashlib.sha256("".join(digests).encode()).hexdigest()
    state = replace(state, weights="", sha256=together, columns=tuple(zip(names, digests, strict=True)))
    return _commit(run, state, best)


def _stem(state: TrainingState) -> str:
    """Return the beginning of the file names of a state's place; their order is that of training."""
    return f"checkpoint-{state.epoch:05d}-{state.batch:06d}"


def _commit(run: Run, state: TrainingState, best: bool) -> TrainingState:
    """Write the state that names whole files, keep a copy of them as the best, and remove older places."""
    write_json(run.checkpoint_path, asdict(state))
    if best:
        _copy(run, state.weights, BEST_WEIGHTS)
        kept = tuple((name.replace(_stem(state), "best"), digest) for name, digest in state.columns)
        for (name, _), (copy, _) in zip(state.columns, kept, strict=True):
            _copy(run, name, copy)
        write_json(run.path / BEST_STATE, asdict(replace(state, weights=state.weights and BEST_WEIGHTS, columns=kept)))
    places = sorted({path.name[: len(_stem(state))] for path in run.path.glob("checkpoint-*.safetensors")})
    for place in places[:-KEEP]:
        if place != _stem(state):
            for old in run.path.glob(f"{place}*.safetensors"):
                old.unlink()
    return state


def _copy(run: Run, name: str, copy: str) -> None:
    """Copy one file of the run under another name, atomically; nothing when there is no such file."""
    if name:
        with (run.path / name).open("rb") as source, atomic_write(run.path / copy) as file:
            shutil.copyfileobj(source, file)


def load_state(run: Run, best: bool = False) -> TrainingState:
    """Return the state of the run's current (or best) checkpoint; InputError when there is none or it is damaged."""
    path = run.path / BEST_STATE if best else run.checkpoint_path
    if not path.is_file():
        what = "best checkpoint" if best else "checkpoint"
        raise InputError(f"{run.path} has no {what} yet; train it with: alexnet train --resume {run.path}")
    values: Any = read_json(path)
    try:
        columns = tuple((str(name), str(digest)) for name, digest in values.pop("columns", ()))
        return TrainingState(columns=columns, **values)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a checkpoint's state ({error}); train again") from None


def load_checkpoint(run: Run, best: bool = False) -> Checkpoint:
    """Return the run's current (or best) checkpoint, its digest compared first; InputError when it does not hold."""
    state = load_state(run, best)
    if state.columns:
        parts = [_load_whole(run, name, digest) for name, digest in state.columns]
        return Checkpoint(state, merge_states(parts))
    return Checkpoint(state, _load_whole(run, state.weights, state.sha256))


def _load_whole(run: Run, name: str, expected: str) -> dict[str, Tensor]:
    """Return the tensors of one file of the run whose digest holds; InputError otherwise."""
    path = run.path / Path(name).name
    if not path.is_file():
        raise InputError(f"{run.path} names {path.name}, which is missing; train again or restore the file")
    digest = sha256_of(path)
    if digest != expected:
        raise InputError(
            f"{path} has sha256 {digest[:12]}..., the checkpoint's state says {expected[:12]}...: "
            "the file is truncated or was changed; restore it or train again"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not safetensors ({error}); restore it or train again") from None


def weights_digest(run: Run) -> str:
    """Return the SHA-256 of the current checkpoint's tensors, as its state records it."""
    return load_state(run).sha256


def load_weights(network: Network, checkpoint: Checkpoint, run: Run) -> None:
    """Copy a checkpoint's weights into `network`; TrainingError names the first one that does not fit."""
    load_tensors(network, checkpoint.tensors, run)


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], run: Run) -> None:
    """Copy `weights.NAME` into each parameter of a network or of one column; TrainingError as above."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            stored = tensors.get(f"weights.{name}")
            if stored is None or stored.shape != parameter.shape:
                found = "nothing" if stored is None else f"{list(stored.shape)}"
                raise TrainingError(
                    f"the checkpoint of {run.path} holds {found} for {name}, the recipe expects "
                    f"{list(parameter.shape)}; use the recipe it was trained with"
                )
            parameter.copy_(stored)
