"""The training loop: epochs of batches, validation, one printed line and one JSON line an epoch.

Every random draw (order, crops, colours, dropout) follows from the recipe's seed and the place in training,
so a run that is stopped and resumed ends with the weights of one that was not, bit for bit on a CPU.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet.errors import Interrupted, TrainingError
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.augment import augment_batch, draws
from alexnet.train.checkpoint import Checkpoint, TrainingState, load_checkpoint, load_weights, save_checkpoint
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.evaluate import Errors, evaluate_centre
from alexnet.train.network import Network
from alexnet.train.schedule import after_epoch
from alexnet.train.sgd import PaperSgd

# Uses of a place's random generator: one number each, so that no two draws share a stream.
ORDER, VIEWS, DROPOUT = 0, 1, 2


@dataclass(frozen=True)
class EpochReport:
    """What an epoch is reported with: losses are nats, errors shares, `rate` pictures a second, times seconds."""

    epoch: int
    epochs: int
    loss: float
    errors: Errors
    learning_rate: float
    next_learning_rate: float
    rate: float
    seconds_left: float

    def line(self, width: int) -> str:
        """Return the report as one line; the epoch's number is padded to `width` digits."""
        drop = (
            f"; learning rate now {self.next_learning_rate:g}" if self.next_learning_rate != self.learning_rate else ""
        )
        return (
            f"epoch {self.epoch:{width}}/{self.epochs}  loss {self.loss:6.3f}  "
            f"top-1 error {self.errors.top1:6.2%}  top-5 error {self.errors.top5:6.2%}  "
            f"{self.rate:6.0f} images/s  {clock(self.seconds_left)} left{drop}"
        )


def clock(seconds: float) -> str:
    """Return a duration as hours:minutes:seconds, hours only when there are any."""
    whole = max(0, round(seconds))
    text = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{text}" if whole >= 3600 else text


@dataclass
class Trainer:
    """One run in progress: its network, update rule and data, and the place it has reached.

    `stop` is asked after each step; when it says so, the state is saved and Interrupted raised. `on_batch` is
    told (batch, batches, loss) after each step and `on_epoch` each report.
    """

    run: Run
    recipe: Recipe
    network: Network
    train: Part
    val: Part
    statistics: Statistics
    state: TrainingState
    stop: Callable[[], bool]
    on_batch: Callable[[int, int, float], None]
    on_epoch: Callable[[EpochReport], None]

    def __post_init__(self) -> None:
        """Make the update rule for the network's weights."""
        sgd = self.recipe.sgd
        self.sgd = PaperSgd(
            self.network.parameters(),
            learning_rate=self.state.learning_rate,
            momentum=sgd.momentum,
            weight_decay=sgd.weight_decay,
        )

    def restore(self) -> None:
        """Take weights, velocities and place from the run's checkpoint."""
        checkpoint = load_checkpoint(self.run)
        load_weights(self.network, checkpoint, self.run)
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                self.sgd.velocity(weight).copy_(checkpoint.tensors[f"velocity.{name}"])
        self.state = checkpoint.state

    def save(self) -> None:
        """Write a checkpoint of the present place."""
        tensors: dict[str, Tensor] = {}
        for name, weight in self.network.named_parameters():
            tensors[f"weights.{name}"] = weight
            tensors[f"velocity.{name}"] = self.sgd.velocity(weight)
        self.state = save_checkpoint(self.run, Checkpoint(self.state, tensors))

    def fit(self) -> TrainingState:
        """Train until the schedule ends and return the final state; Interrupted or TrainingError otherwise."""
        if self.recipe.schedule.epochs == 0:
            self.state = replace(self.state, finished=True)
            self.save()
        while not self.state.finished:
            self._epoch()
        return self.state

    def _epoch(self) -> None:
        """Train what is left of the current epoch, validate, advance the schedule, report and save."""
        state, began, done = self.state, time.perf_counter(), 0
        self.sgd.set_learning_rate(state.learning_rate)
        self.network.train()
        for batch, (views, labels) in self._batches(state.epoch, state.batch):
            loss = self._step(state.epoch, batch, views, labels)
            done += len(labels)
            seconds = state.seconds + time.perf_counter() - began
            loss_sum = self.state.loss_sum + loss * len(labels)
            self.state = replace(self.state, batch=batch + 1, loss_sum=loss_sum, seconds=seconds)
            self.on_batch(batch + 1, self.batches, loss)
            if self.stop():
                self._interrupt()
        rate = done / (time.perf_counter() - began)
        self._finish_epoch(rate, began, state.seconds)

    def _finish_epoch(self, rate: float, began: float, seconds_before: float) -> None:
        """Validate, advance the schedule, write the metrics' line and the checkpoint, and report."""
        before = self.state
        errors = evaluate_centre(self.network, self.val.pictures, self.val.labels, self.statistics.mean)
        seconds = seconds_before + time.perf_counter() - began
        ended = replace(before, epoch=before.epoch + 1, batch=0, loss_sum=0.0, seconds=seconds)
        self.state = after_epoch(self.recipe.schedule, ended, errors.top1)
        epochs = self.recipe.schedule.epochs
        report = EpochReport(
            epoch=self.state.epoch,
            epochs=epochs,
            loss=before.loss_sum / len(self.train.labels),
            errors=errors,
            learning_rate=before.learning_rate,
            next_learning_rate=self.state.learning_rate,
            rate=rate,
            seconds_left=0.0 if self.state.finished else seconds / self.state.epoch * (epochs - self.state.epoch),
        )
        self._log(report)
        self.save()
        self.on_epoch(report)

    def _log(self, report: EpochReport) -> None:
        """Append the epoch to metrics.jsonl; a line of the same epoch from before a kill is replaced by reading."""
        values = {
            "epoch": report.epoch,
            "loss": report.loss,
            "val_loss": report.errors.loss,
            "val_top1_error": report.errors.top1,
            "val_top5_error": report.errors.top5,
            "learning_rate": report.learning_rate,
            "images_per_second": report.rate,
            "seconds": self.state.seconds,
        }
        with self.run.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def _step(self, epoch: int, batch: int, views: npt.NDArray[np.float32], labels: Tensor) -> float:
        """Update the weights from one batch and return its loss; TrainingError when the loss is not finite."""
        torch.manual_seed(int(draws(self.recipe.seed, DROPOUT, epoch, batch).integers(2**63)))
        crops = torch.from_numpy(views).permute(0, 3, 1, 2)
        loss = torch.nn.functional.cross_entropy(self.network(crops), labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at epoch {epoch + 1}, batch {batch + 1}; the last checkpoint in {self.run.path} "
                "is kept; train with a lower rate: --set sgd.learning_rate="
                f"{self.state.learning_rate / 3:.2g}"
            )
        self.sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.sgd.step()
        return value

    @property
    def batches(self) -> int:
        """The number of batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.train.labels) / self.recipe.sgd.batch)

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[int, tuple[npt.NDArray[np.float32], Tensor]]]:
        """Yield (number, (views, labels)) from batch `first` on, the next one prepared while the last trains.

        Each picture is drawn once an epoch, in an order fixed by the seed and the epoch.
        """
        order = draws(self.recipe.seed, ORDER, epoch).permutation(len(self.train.labels))
        size = self.recipe.sgd.batch

        def prepare(batch: int) -> tuple[npt.NDArray[np.float32], Tensor]:
            chosen = order[batch * size : (batch + 1) * size]
            random = draws(self.recipe.seed, VIEWS, epoch, batch)
            pictures, crop = self.train.pictures[chosen], self.recipe.network.crop
            views = augment_batch(pictures, self.statistics, self.recipe.augment, crop, random)
            return views, torch.from_numpy(self.train.labels[chosen])

        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(prepare, first) if first < self.batches else None
            for batch in range(first, self.batches):
                assert ahead is not None
                ready = ahead.result()
                if batch + 1 < self.batches:
                    ahead = pool.submit(prepare, batch + 1)
                yield batch, ready

    def _interrupt(self) -> None:
        """Save the present place and raise Interrupted, which says how to go on."""
        self.save()
        place = f"epoch {self.state.epoch + 1}, batch {self.state.batch} of {self.batches}"
        raise Interrupted(
            f"stopped at {place}; everything is saved, go on with: alexnet train --resume {self.run.path}"
        )
