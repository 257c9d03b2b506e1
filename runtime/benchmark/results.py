"""What a benchmark found, as dataclasses that become JSON, and what follows from the figures: bounds and the best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet.runtime.benchmark.timing import Latency, Spread

# From this share of a measured limit on, the limit is said to bind.
BINDING = 0.5
# A smaller batch that comes so near to the highest throughput is the better one: it answers sooner and takes less room.
NEAR_BEST = 0.98


@dataclass(frozen=True)
class Agreement:
    """How far a backend's answers are from the reference's: the parity pack's, or ONNX Runtime's on the CPU."""

    reference: str
    pictures: int
    largest: float
    top1: float


@dataclass(frozen=True)
class Stages:
    """Median seconds of one batch's parts on a device of its own memory: pictures there, the model, answers back."""

    upload: float
    model: float
    download: float

    @property
    def transfers(self) -> float:
        """Both copies."""
        return self.upload + self.download


@dataclass
class Row:
    """One combination of model, backend and batch.

    `throughput` is in pictures a second; `ratio` that to the first row's; `memory` the peak of a process that does only
    this, in bytes; `gigaflops` its convolutions' and matrices', a second; `shares` of the measured limits, by name;
    `error` says why there are no figures.
    """

    model: Path
    backend: str
    batch: int
    device: str = ""
    precision: str = ""
    latency: Latency | None = None
    throughput: Spread | None = None
    ratio: Spread | None = None
    stages: Stages | None = None
    memory: int | None = None
    gigaflops: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    agreement: Agreement | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[Path, str]:
        """The model and the backend."""
        return self.model, self.backend

    @property
    def bound(self) -> str:
        """What bounds the batch, as measured: transfers, or one of the limits with its share; empty when none does."""
        if self.latency is None:
            return ""
        if self.stages and self.stages.transfers > self.stages.model:
            return "transfers"
        name = max(self.shares, key=lambda name: self.shares[name], default="")
        return f"{name} {self.shares[name]:.0%}" if name and self.shares[name] >= BINDING else ""

    def to_values(self) -> dict[str, Any]:
        """Return JSON values: times in milliseconds, memory in bytes."""
        stages = {f"{name}_ms": seconds * 1e3 for name, seconds in asdict(self.stages).items()} if self.stages else None
        return {
            "model": str(self.model),
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "batch": self.batch,
            "latency_ms": self.latency.to_values() if self.latency else None,
            "pictures_per_second": _values(self.throughput),
            "ratio": _values(self.ratio),
            "stages": stages,
            "peak_memory_bytes": self.memory,
            "gigaflops": self.gigaflops,
            "shares": self.shares,
            "bound": self.bound or None,
            "agreement": _values(self.agreement),
            "error": self.error,
        }


@dataclass(frozen=True)
class EndToEnd:
    """Files to answers, as `alexnet infer` does it, beside its two parts alone: pictures a second, and the ratio.

    `ratio` is end to end over the slower part of the same round.
    """

    model: Path
    backend: str
    batch: int
    decoding: Spread
    inference: Spread
    whole: Spread
    ratio: Spread

    @property
    def bound(self) -> str:
        """The slower part."""
        return "decoding" if self.decoding.median < self.inference.median else "inference"

    def to_values(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**_values(self), "model": str(self.model), "bound": self.bound}


@dataclass(frozen=True)
class Best:
    """The backend and batch to use for a model, and the command that does."""

    model: Path
    backend: str
    batch: int
    command: str

    def to_values(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "model": str(self.model)}


@dataclass(frozen=True)
class ModelFacts:
    """A model file: its bytes with those of its external weights, and its form in words."""

    path: Path
    bytes: int
    form: str

    def to_values(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"path": str(self.path), "bytes": self.bytes, "form": self.form}


@dataclass
class Report:
    """Everything a benchmark found; `limits` are the runtimes' own, by backend: operations or bytes a second."""

    machine: dict[str, Any]
    rounds: int
    models: list[ModelFacts]
    rows: list[Row]
    limits: dict[str, dict[str, float]]
    whole: list[EndToEnd]
    best: list[Best]
    absent: dict[str, str]

    def to_values(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "models": [model.to_values() for model in self.models],
            "results": [row.to_values() for row in self.rows],
            "limits": self.limits,
            "end_to_end": [whole.to_values() for whole in self.whole],
            "best": [best.to_values() for best in self.best],
            "not_usable": self.absent,
        }


def best_row(rows: Sequence[Row]) -> Row | None:
    """Return the smallest batch of those whose throughput is within NEAR_BEST of the highest; None without any."""
    measured = [(row.throughput.median, row) for row in rows if row.throughput is not None]
    if not measured:
        return None
    highest = max(rate for rate, _ in measured)
    near = [(row.batch, -rate, place) for place, (rate, row) in enumerate(measured) if rate >= NEAR_BEST * highest]
    return measured[min(near)[2]][1]


def infer_command(row: Row, images: Path | None, flags: Sequence[str]) -> str:
    """Return the command that classifies pictures as this row did; `flags` are the backend's other options."""
    words = ["alexnet", "infer", "--engine", str(row.model), "--backend", row.backend, "--batch", str(row.batch)]
    return shlex.join([*words, *flags, str(images) if images else "images/"])


def _values(figures: Any) -> Any:
    """Return a dataclass as JSON values, None as it is."""
    return None if figures is None else asdict(figures)
