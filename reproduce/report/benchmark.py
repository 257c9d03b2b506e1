"""The document of `alexnet benchmark --json` as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from alexnet.errors import InputError
from alexnet.files import read_json, sha256_of

COMMAND = "alexnet benchmark model.onnx --json > benchmark.json"


@dataclass(frozen=True)
class Timing:
    """One combination of model, backend and batch: milliseconds a batch, pictures a second, or why there are none."""

    model: str
    backend: str
    precision: str
    batch: int
    median: float | None
    p95: float | None
    rate: float | None
    ratio: float | None
    megabytes: float | None
    bound: str
    error: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's machine in words, its number of rounds, its rows, the best commands, and the file's digest."""

    name: str
    sha256: str
    machine: str
    rounds: int
    timings: list[Timing]
    best: list[str]


def load_benchmark(path: Path) -> Benchmark:
    """Return what a benchmark wrote; InputError when the file is not its JSON document."""
    values = read_json(path)
    try:
        machine = values["machine"]
        words = [str(machine["processor"]), f"{machine['cores']} cores", *map(str, machine["instructions"])]
        packages = [f"{name} {version}" for name, version in machine.get("packages", {}).items()]
        return Benchmark(
            path.name,
            sha256_of(path),
            ", ".join([*words, f"Python {machine['python']}", *packages]),
            int(values["rounds"]),
            [_timing(row) for row in values["results"]],
            [str(best["command"]) for best in values["best"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is not the document of a benchmark ({type(error).__name__}: {error}); write one with: {COMMAND}"
        ) from None


def _timing(row: dict[str, Any]) -> Timing:
    """Return one row; figures are None where the combination failed."""
    latency, rate, ratio = (row[name] or {} for name in ("latency_ms", "pictures_per_second", "ratio"))
    memory = row["peak_memory_bytes"]
    return Timing(
        PurePath(str(row["model"])).name,
        str(row["backend"]),
        str(row["precision"]),
        int(row["batch"]),
        _figure(latency.get("median")),
        _figure(latency.get("p95")),
        _figure(rate.get("median")),
        _figure(ratio.get("median")),
        None if memory is None else float(memory) / 1e6,
        str(row["bound"] or ""),
        str(row["error"] or ""),
    )


def _figure(value: Any) -> float | None:
    """Return a number, or None where there is none."""
    return None if value is None else float(value)
