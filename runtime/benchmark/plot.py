"""The report as a picture: throughput and latency by batch size, a line for each model and backend."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from alexnet import figures
from alexnet.files import atomic_write
from alexnet.runtime.benchmark.results import Report

SUFFIXES = (".svg", ".png")


def import_figures() -> ModuleType:
    """Return matplotlib's figure module; MissingPackageError when it is not installed."""
    return figures.import_figures("--plot")


def plot_report(report: Report, path: Path) -> None:
    """Write the plot to `path`, .svg or .png; the bars are quartiles, those of the latency median to p95."""
    figure = import_figures().Figure(figsize=(10, 4.5), layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    several = len(report.models) > 1
    for model, backend in dict.fromkeys(row.key for row in report.rows if row.latency):
        rows = [row for row in report.rows if row.key == (model, backend) and row.latency and row.throughput]
        name = f"{model.name}, {backend}" if several else backend
        rates = [row.throughput for row in rows if row.throughput]
        times = [row.latency for row in rows if row.latency]
        batches = [row.batch for row in rows]
        middle = [rate.median for rate in rates]
        below = [rate.median - rate.low for rate in rates]
        above = [rate.high - rate.median for rate in rates]
        throughput.errorbar(batches, middle, [below, above], marker="o", capsize=3, label=name)
        tail = [(time.p95 - time.median) * 1e3 for time in times]
        latency.errorbar(
            batches,
            [time.median * 1e3 for time in times],
            [[0.0] * len(times), tail],
            marker="o",
            capsize=3,
            label=name,
        )
    _finish(throughput, report, "pictures/s, quartiles")
    _finish(latency, report, "ms a batch, median to p95")
    throughput.legend()
    machine = report.machine
    figure.suptitle(f"{machine['processor']}, {machine['cores']} cores, {report.rounds} rounds", fontsize=10)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())


def _finish(axes: Any, report: Report, unit: str) -> None:
    """Give axes their scales and names."""
    batches = sorted({row.batch for row in report.rows if row.latency})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xlabel("pictures in a batch")
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
