"""Training of the small networks of Figure 1 and section 3.3: members of an experiment, each in a folder of its own.

A member's folder holds its settings, one entry an epoch, and a checkpoint (`alexnet.train.checkpoint`). A run that is
killed loses at most the epoch that it was in, and a finished member is read back. Every draw follows from seed, epoch
and batch, so that on a CPU a rerun, stopped or not, gives the same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alexnet.crops import CROPS
from alexnet.errors import InputError
from alexnet.files import read_json, write_json
from alexnet.progress import Count
from alexnet.recipe import Recipe
from alexnet.recipe_file import recipe_to_values
from alexnet.reproduce.small_data import SmallData
from alexnet.run import Run
from alexnet.train.batches import batches_for
from alexnet.train.checkpoint import Checkpoint, TrainingState, load_checkpoint, load_tensors, save_checkpoint
from alexnet.train.device import Carrier, arithmetic, channels_last, tune_process
from alexnet.train.evaluate import Errors, centre_views, count_errors, errors_of, ten_views
from alexnet.train.readers import read_ahead, reader_threads
from alexnet.train.schedule import after_epoch
from alexnet.train.sgd import PaperSgd, parameter_groups

Progress = Callable[[str], AbstractContextManager[Count]]
SETTINGS, HISTORY = "settings.json", "history.json"
# Pictures in a batch of evaluation.
ASKED = 256


@dataclass(frozen=True)
class Epoch:
    """One epoch: `train_error` of the training pictures, each before the step it was in; `val_error` of centre crops.

    Errors are top-1, as shares. A member whose loss was not finite has no `loss`, the error of a wrong answer to
    everything, and no further epochs.
    """

    train_error: float
    val_error: float
    loss: float | None
    seconds: float


@dataclass(frozen=True)
class Member:
    """One network of an experiment, with its weights at the start and what decides its training.

    Of the recipe count the seed, data, augmentation, update rule, schedule and precision, and its network's crop.
    `decay` is the weight decay of the weights of a layer by its name, in place of the recipe's.
    """

    name: str
    recipe: Recipe
    network: nn.Module
    decay: Mapping[str, float] = field(default_factory=dict)

    def settings(self, data: SmallData) -> dict[str, Any]:
        """Return all that must be the same for a member's training to go on."""
        values = recipe_to_values(self.recipe)
        return {
            "recipe": {name: values[name] for name in ("seed", "data", "augment", "sgd", "schedule", "compute")},
            "crop": self.recipe.network.crop,
            "decay": dict(self.decay),
            "layers": str(self.network).splitlines(),
            "data": data.digest,
            "training_pictures": len(data.train.labels),
        }


class SmallTrainer:
    """A member in training, at the place that its folder has reached."""

    def __init__(self, member: Member, data: SmallData, folder: Path, device: torch.device) -> None:
        """Make the folder or read it; InputError when it was begun with other settings or is damaged."""
        self.member, self.data, self.device = member, data, device
        self.run = Run(folder)
        recipe = member.recipe
        tune_process(device, recipe.compute.precision)
        self.network = member.network.to(device)
        # The layout that the views come in, which a CPU's bfloat16 convolutions need to be fast.
        channels_last(self.network)
        self.batches = batches_for(device, data.train, data.statistics, recipe)
        mean = torch.from_numpy(data.statistics.mean).to(device)
        self.carrier = Carrier(device, mean, recipe.data.divisor, self.batches.on_device)
        groups = parameter_groups(self.network.named_parameters(), recipe.sgd)
        for group in groups:
            if group["weight_decay"]:
                group["weight_decay"] = member.decay.get(group["layer"], group["weight_decay"])
        sgd = recipe.sgd
        self.sgd = PaperSgd(
            groups, learning_rate=sgd.learning_rate, momentum=sgd.momentum, weight_decay=sgd.weight_decay
        )
        self.state = TrainingState(learning_rate=sgd.learning_rate)
        self.history: list[Epoch] = []
        self._open()

    def _open(self) -> None:
        """Write the settings of a new member, or take up the place, the weights and the history of a known one."""
        path, settings = self.run.path / SETTINGS, self.member.settings(self.data)
        if path.is_file() and read_json(path) != settings:
            raise InputError(
                f"{self.run.path} was trained with other settings or data; give another --out, or the options it "
                f"was begun with ({path.name} there holds them)"
            )
        if not self.run.checkpoint_path.is_file():
            write_json(path, settings)
            return
        checkpoint = load_checkpoint(self.run)
        load_tensors(self.network, checkpoint.tensors, self.run)
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                self.sgd.velocity(weight).copy_(checkpoint.tensors[f"velocity.{name}"])
        self.state = checkpoint.state
        entries = read_json(self.run.path / HISTORY)[: self.state.epoch]
        if len(entries) != self.state.epoch:
            raise InputError(f"{self.run.path / HISTORY} has lost epochs; remove {self.run.path} to train it again")
        self.history = [Epoch(**entry) for entry in entries]

    def fit(self, epochs: int, enough: Callable[[Sequence[Epoch]], bool], count: Count) -> list[Epoch]:
        """Train until `epochs` are done, the schedule ends or `enough` says so of the history, and return that.

        What the folder was trained for beyond `epochs` before is left out.
        """
        while len(self.history) < epochs and not self.state.finished and not enough(self.history):
            self._epoch(count, epochs)
        return self.history[:epochs]

    def _epoch(self, count: Count, epochs: int) -> None:
        """Train one epoch, evaluate it, and save its place."""
        began, place = time.perf_counter(), self.state.epoch
        self.network.train()
        self.sgd.set_learning_rate(self.state.learning_rate)
        wrong = torch.zeros((), device=self.device)
        total = 0.0
        for ready in self.carrier.carry(self.batches.epoch(place, 0)):
            logits = self._logits(ready.crops)
            loss = nn.functional.cross_entropy(logits, ready.labels)
            self.sgd.zero_grad()
            loss.backward()
            self.sgd.step()
            wrong += (logits.argmax(dim=1) != ready.labels).sum()
            total += loss.item() * ready.batch.pictures
            count(place * self.batches.number + ready.batch.number + 1, epochs * self.batches.number)
            if not math.isfinite(total):
                break
        number = len(self.data.train.labels)
        if math.isfinite(total):
            error = self.errors(1).top1
            done = Epoch(float(wrong) / number, error, total / number, time.perf_counter() - began)
        else:
            error = 1.0
            done = Epoch(1.0, error, None, time.perf_counter() - began)
        ended = after_epoch(self.member.recipe.schedule, replace(self.state, epoch=place + 1), error)
        self.state = replace(ended, finished=ended.finished or done.loss is None)
        self.history.append(done)
        self._save()

    def _logits(self, crops: Tensor) -> Tensor:
        """Return the network's outputs [n, classes], float32, for crops [n, 3, c, c]."""
        with arithmetic(self.device, self.member.recipe.compute.precision):
            outputs: Tensor = self.network(crops)
        return outputs.float()

    def _save(self) -> None:
        """Write the history, then the checkpoint: a kill between them leaves an entry that is cut off on resuming."""
        write_json(self.run.path / HISTORY, [asdict(epoch) for epoch in self.history])
        tensors: dict[str, Tensor] = {}
        for name, weight in self.network.named_parameters():
            tensors[f"weights.{name}"] = weight
            tensors[f"velocity.{name}"] = self.sgd.velocity(weight)
        self.state = save_checkpoint(self.run, Checkpoint(self.state, tensors))

    def errors(self, crops: int) -> Errors:
        """Return the errors on the held-out pictures, from the centre crop (`crops` 1) or from ten."""
        return errors_of(count_errors(self._probabilities(crops), self.data.val.labels))

    def _probabilities(self, crops: int) -> Iterator[Tensor]:
        """Yield the answers [n, classes] to the held-out pictures, the softmax outputs of their crops averaged."""
        pictures, crop, recipe = self.data.val.pictures, self.member.recipe.network.crop, self.member.recipe
        view = ten_views if crops == CROPS else centre_views
        self.network.eval()
        with torch.inference_mode():
            for read in read_ahead(pictures, slice(None), ASKED // crops, reader_threads(self.device)):
                seen = view(read, self.carrier.mean, crop, recipe.data.divisor)
                answers = self._logits(seen).softmax(dim=1)
                yield answers.reshape(crops, -1, answers.shape[1]).mean(dim=0).cpu()


def epochs_to(history: Sequence[Epoch], error: float) -> int | None:
    """Return after how many epochs the training error was first at most `error`, None when it never was."""
    return next((place for place, epoch in enumerate(history, start=1) if epoch.train_error <= error), None)
