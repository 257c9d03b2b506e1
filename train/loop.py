"""The training loop: epochs of batches, validation, one printed line and one JSON line an epoch.

Every random draw (order, crops, colours, dropout) follows from the recipe's seed and the place in training,
so a run that is stopped and resumed ends with the weights of one that was not, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from alexnet.errors import Interrupted, TrainingError
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.augment import draws
from alexnet.train.batches import DROPOUT, batches_for
from alexnet.train.checkpoint import (
    Checkpoint,
    TrainingState,
    column_file,
    commit_columns,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    write_tensors,
)
from alexnet.train.columns import split_state
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.device import Carrier, DeviceBatch, arithmetic, reading, tune_process
from alexnet.train.diagnose import first_not_finite, stuck
from alexnet.train.evaluate import AnyNetwork, evaluate_centre
from alexnet.train.mesh import World
from alexnet.train.report import EpochReport, layer_norms, log_epoch, logged_losses
from alexnet.train.schedule import after_epoch, conv1_factor
from alexnet.train.sgd import PaperSgd, parameter_groups


@dataclass
class Trainer:
    """One run in progress: its network, update rule and data, and the place it has reached.

    `stop` is asked after each step; when it says so, the state is saved and Interrupted raised. `on_batch` is
    told (batch, batches, loss) after each step, `on_epoch` each report, and `warn` what looks wrong. In a `world` of
    several ranks each holds its column of the network and trains on its share of each batch; the first one writes.
    """

    run: Run
    recipe: Recipe
    network: AnyNetwork
    train: Part
    val: Part
    statistics: Statistics
    state: TrainingState
    stop: Callable[[], bool]
    on_batch: Callable[[int, int, float], None]
    on_epoch: Callable[[EpochReport], None]
    warn: Callable[[str], None]
    world: World = field(default_factory=World)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the update rule for the network's weights, and what draws the batches."""
        sgd = self.recipe.sgd
        self.device = next(self.network.parameters()).device
        self.batches = batches_for(self.device, self.train, self.statistics, self.recipe, self.world)
        tune_process(self.device, self.recipe.compute.precision)
        mean = torch.from_numpy(self.statistics.mean).to(self.device)
        self.carrier = Carrier(self.device, mean, self.recipe.data.divisor, self.batches.on_device)
        # Not dynamic: the smaller last batch of an epoch gets code of its own, and the others keep theirs.
        compiled = self.recipe.compute.compile
        self.forward = torch.compile(self.network, dynamic=False) if compiled else self.network
        self.sgd = PaperSgd(
            parameter_groups(self.network.named_parameters(), sgd),
            learning_rate=self.state.learning_rate,
            momentum=sgd.momentum,
            weight_decay=sgd.weight_decay,
        )

    def restore(self) -> None:
        """Take weights, velocities and place from the run's checkpoint, merged or split."""
        checkpoint = load_checkpoint(self.run)
        tensors = checkpoint.tensors
        if self.world.columns > 1:
            tensors = split_state(tensors, self.world.columns)[self.world.column]
        load_tensors(self.network, tensors, self.run)
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                # Imported weights have none, and start from zeros.
                if (velocity := tensors.get(f"velocity.{name}")) is not None:
                    self.sgd.velocity(weight).copy_(velocity)
        self.state = checkpoint.state
        if self.world.first:
            self.losses = logged_losses(self.run, self.state.epoch)

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of the present place; `best` keeps a copy of it as the run's best."""
        tensors: dict[str, Tensor] = {}
        for name, weight in self.network.named_parameters():
            tensors[f"weights.{name}"] = weight
            tensors[f"velocity.{name}"] = self.sgd.velocity(weight)
        if self.world.columns == 1:
            if self.world.first:
                self.state = save_checkpoint(self.run, Checkpoint(self.state, tensors), best)
        else:
            if self.world.data_rank == 0:
                write_tensors(self.run.path / column_file(self.state, self.world.column, self.world.columns), tensors)
            self.world.barrier()
            if self.world.first:
                self.state = commit_columns(self.run, self.state, self.world.columns, best)
        self.world.barrier()

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
        state, began, done, waited = self.state, time.perf_counter(), 0, 0.0
        factor = conv1_factor(self.recipe.schedule, state.epoch)
        self.sgd.set_learning_rate(state.learning_rate, {"conv1": factor})
        self.network.train()
        for ready in self.carrier.carry(self.batches.epoch(state.epoch, state.batch)):
            batch = ready.batch
            loss = self._step(state.epoch, ready)
            done += batch.pictures
            waited += batch.waited
            seconds = state.seconds + time.perf_counter() - began
            loss_sum = self.state.loss_sum + loss * batch.pictures
            self.state = replace(self.state, batch=batch.number + 1, loss_sum=loss_sum, seconds=seconds)
            self.on_batch(batch.number + 1, self.batches.number, loss)
            if self.world.any(self.stop()):
                self._interrupt()
        trained = time.perf_counter() - began
        self._finish_epoch(done / trained, waited / trained, began, state.seconds)

    def _finish_epoch(self, rate: float, data_wait: float, began: float, seconds_before: float) -> None:
        """Validate, advance the schedule, write the metrics' line and the checkpoint, and report."""
        before = self.state
        errors = evaluate_centre(
            self.network,
            self.val.pictures,
            self.val.labels,
            self.statistics.mean,
            divisor=self.recipe.data.divisor,
            world=self.world,
        )
        seconds = seconds_before + time.perf_counter() - began
        ended = replace(before, epoch=before.epoch + 1, batch=0, loss_sum=0.0, seconds=seconds)
        self.state = after_epoch(self.recipe.schedule, ended, errors.top1)
        epochs = self.recipe.schedule.epochs
        named = list(self.network.named_parameters())
        report = EpochReport(
            epoch=self.state.epoch,
            epochs=epochs,
            loss=before.loss_sum / len(self.train.labels),
            errors=errors,
            learning_rate=before.learning_rate,
            next_learning_rate=self.state.learning_rate,
            rate=rate,
            data_wait=data_wait,
            seconds=seconds,
            seconds_left=0.0 if self.state.finished else seconds / self.state.epoch * (epochs - self.state.epoch),
            layers=layer_norms(named, [self.sgd.velocity(weight) for _, weight in named], self.world),
            data_ranks=self.world.data_size,
            column_ranks=self.world.columns,
        )
        if self.world.first:
            log_epoch(self.run, report)
        self.save(best=errors.top1 < before.best_error)
        self.on_epoch(report)
        self.losses.append(report.loss)
        if warning := stuck(self.losses, self.recipe.network.classes):
            self.warn(warning)

    def _step(self, epoch: int, ready: DeviceBatch) -> float:
        """Update the weights from one batch and return its loss; TrainingError when the loss is not finite.

        The loss is read before the weights move, and after the backward pass is queued: a device does not wait for it.
        """
        batch = ready.batch
        place = (epoch, batch.number, self.world.data_rank, self.world.column)
        torch.manual_seed(int(draws(self.recipe.seed, DROPOUT, *place).integers(2**63)))
        with arithmetic(self.device, self.recipe.compute.precision):
            logits = self.forward(ready.crops)
        loss = torch.nn.functional.cross_entropy(logits.float(), ready.labels, reduction="sum") / batch.pictures
        read_loss = reading(self.world.sum_over_data(loss.detach()))
        self.sgd.zero_grad()
        loss.backward()
        value = read_loss()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at epoch {epoch + 1}, batch {batch.number + 1}: "
                f"{first_not_finite(self.network, ready.crops)}; the last checkpoint in {self.run.path} is kept; train "
                f"with a lower rate: --set sgd.learning_rate={self.state.learning_rate / 3:.2g}"
            )
        self.world.sum_gradients(self.network.parameters())
        self.sgd.step()
        return value

    def _interrupt(self) -> None:
        """Save the present place and raise Interrupted, which says how to go on."""
        self.save()
        place = f"epoch {self.state.epoch + 1}, batch {self.state.batch} of {self.batches.number}"
        raise Interrupted(
            f"stopped at {place}; everything is saved, go on with: alexnet train --resume {self.run.path}"
        )
