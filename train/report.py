"""What an epoch is reported with: the printed line, the JSON line, and TensorBoard's scalars."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from alexnet.files import write_bytes
from alexnet.run import Run
from alexnet.train.evaluate import Errors
from alexnet.train.mesh import World


def clock(seconds: float) -> str:
    """Return a duration as hours:minutes:seconds, hours only when there are any."""
    whole = max(0, round(seconds))
    text = f"{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 3600}:{text}" if whole >= 3600 else text


@dataclass(frozen=True)
class LayerNorms:
    """The size of a layer's weights |w| and of their last update relative to it, |dw| / |w|."""

    weight: float
    update: float


def layer_norms(
    named: Sequence[tuple[str, Tensor]], velocities: Sequence[Tensor], world: World | None = None
) -> dict[str, LayerNorms]:
    """Return the norms by layer; the paper's velocity is the update itself (w := w + v).

    Where the columns live on ranks of their own, the norms are of the whole layer: every rank calls this alike.
    """
    pairs = [pair for pair in zip(named, velocities, strict=True) if pair[0][0].endswith(".weight")]
    squares = [part.detach().square().sum() for (_, weight), velocity in pairs for part in (weight, velocity)]
    sums = (world or World()).sum_over_columns(torch.stack(squares)).sqrt().tolist()
    names = [name.removesuffix(".weight") for (name, _), _ in pairs]
    return {
        name: LayerNorms(size, update / max(size, 1e-30))
        for name, size, update in zip(names, sums[::2], sums[1::2], strict=True)
    }


@dataclass(frozen=True)
class EpochReport:
    """One epoch: losses in nats, errors as shares, `rate` in pictures a second, times in seconds.

    `data_wait` is the share of the training time that the loop waited for its next batch. `data_ranks` and
    `column_ranks` are the mesh that the epoch ended on: under an elastic torchrun it changes within a run.
    """

    epoch: int
    epochs: int
    loss: float
    errors: Errors
    learning_rate: float
    next_learning_rate: float
    rate: float
    data_wait: float
    seconds: float
    seconds_left: float
    layers: dict[str, LayerNorms] = field(default_factory=dict)
    data_ranks: int = 1
    column_ranks: int = 1

    def line(self, width: int) -> str:
        """Return the report as one line; the epoch's number is padded to `width` digits."""
        drop = ""
        if self.next_learning_rate != self.learning_rate:
            drop = f"; learning rate now {self.next_learning_rate:g}"
        return (
            f"epoch {self.epoch:{width}}/{self.epochs}  loss {self.loss:6.3f}  "
            f"top-1 error {self.errors.top1:6.2%}  top-5 error {self.errors.top5:6.2%}  "
            f"lr {self.learning_rate:g}  {self.rate:6.0f} images/s  data wait {self.data_wait:4.1%}  "
            f"{clock(self.seconds_left)} left{drop}"
        )

    def layer_line(self) -> str:
        """Return |w| and |dw|/|w| of every layer as one line."""
        return "  ".join(f"{name} {norm.weight:.3g} ({norm.update:.1e})" for name, norm in self.layers.items())

    def values(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "epoch": self.epoch,
            "loss": self.loss,
            "val_loss": self.errors.loss,
            "val_top1_error": self.errors.top1,
            "val_top5_error": self.errors.top5,
            "learning_rate": self.learning_rate,
            "images_per_second": self.rate,
            "data_wait": self.data_wait,
            "data_ranks": self.data_ranks,
            "column_ranks": self.column_ranks,
            "seconds": self.seconds,
            "layers": {name: asdict(norm) for name, norm in self.layers.items()},
        }


def log_epoch(run: Run, report: EpochReport) -> None:
    """Append the epoch to the run's metrics.jsonl and, where TensorBoard is installed, to its events."""
    with run.metrics_path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(report.values()) + "\n")
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(run.path / "tensorboard"), purge_step=report.epoch) as writer:
        values = report.values()
        for name, norms in values.pop("layers").items():
            writer.add_scalar(f"weight/{name}", norms["weight"], report.epoch)
            writer.add_scalar(f"update/{name}", norms["update"], report.epoch)
        for name, value in values.items():
            writer.add_scalar(name, value, report.epoch)


def logged_losses(run: Run, epoch: int) -> list[float]:
    """Return the training losses of the run's epochs up to `epoch`, and forget later ones.

    A kill between an epoch's line and its checkpoint leaves a line too many, or half a line.
    """
    if not run.metrics_path.is_file():
        return []
    lines = run.metrics_path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] <= epoch]
    write_bytes(run.metrics_path, "".join(kept).encode())
    return [float(json.loads(line)["loss"]) for line in kept]
