"""The report as aligned text: figures of every combination, what they agree with, and what to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from alexnet.errors import printable
from alexnet.runtime.benchmark.results import Report, Row

HEAD = (
    *("backend", "batch", "min", "mean", "median", "p95", "p99", "pictures/s", "ratio (quartiles)", "GFLOP/s"),
    *("transfers", "memory", "bound"),
)


def report_text(report: Report) -> str:
    """Return the whole report; milliseconds a batch, megabytes (10^6), ratios of pictures a second to the first row."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    """Yield the report's lines."""
    machine = report.machine
    instructions = ", ".join(machine["instructions"]) or "none of those that matter"
    yield f"{machine['processor']}, {machine['cores']} cores, {instructions}; {report.rounds} rounds"
    for model in report.models:
        yield ""
        yield f"{printable(str(model.path))}: {model.bytes / 1e6:.1f} MB" + (f", {model.form}" if model.form else "")
        rows = [row for row in report.rows if row.model == model.path]
        yield from aligned([HEAD, *(_cells(row) for row in rows if row.latency)])
        for row in rows:
            if row.error is not None:
                yield f"  {row.backend}, batch {row.batch}: failed, {printable(row.error)}"
        yield from _agreements(rows)
        yield from _end_to_end(report, model.path)
        for best in report.best:
            if best.model == model.path:
                yield f"  best: {best.backend}, batch {best.batch}:"
                yield f"    {printable(best.command)}"
    if report.limits:
        yield ""
        yield "limits of the runtimes here, measured in the same rounds:"
        for name, limits in report.limits.items():
            yield f"  {name}: " + ", ".join(_limit(limit, rate) for limit, rate in limits.items())


def _cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells, in the order of HEAD."""
    assert row.latency is not None and row.throughput is not None
    found = row.latency
    times = (found.minimum, found.mean, found.median, found.p95, found.p99)
    return (
        f"{row.backend} {row.precision}",
        str(row.batch),
        *(f"{seconds * 1e3:.2f}" for seconds in times),
        f"{row.throughput.median:,.1f}",
        str(row.ratio),
        f"{row.gigaflops:.1f}" if row.gigaflops else "-",
        f"{row.stages.transfers * 1e3:.2f}" if row.stages else "-",
        f"{row.memory / 1e6:,.0f}" if row.memory else "-",
        row.bound or "-",
    )


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of cells in columns, the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *middle = (f"{cell:>{width}}" for cell, width in zip(row[:-1], widths[:-1], strict=True))
        yield f"  {row[0]:{len(first)}}  {'  '.join(middle)}  {row[-1]}".rstrip()


def _agreements(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line a backend that says how its answers agree with the reference's."""
    for name, row in {row.backend: row for row in rows if row.agreement}.items():
        assert row.agreement is not None
        yield (
            f"  {name}: largest difference {row.agreement.largest:.1e} of a probability, top-1 agreement "
            f"{row.agreement.top1:.1%}, {row.agreement.pictures} pictures (reference: {row.agreement.reference})"
        )


def _end_to_end(report: Report, model: Path) -> Iterator[str]:
    """Yield a line a backend about files to answers."""
    for found in report.whole:
        if found.model == model:
            yield (
                f"  {found.backend}, batch {found.batch}, from files: {found.whole.median:,.1f} pictures/s; decoding "
                f"alone {found.decoding.median:,.1f}, inference alone {found.inference.median:,.1f}; {found.ratio} of "
                f"the slower, {found.bound}"
            )


def _limit(name: str, rate: float) -> str:
    """Return a limit with its unit."""
    return f"reading weights {rate / 1e9:.1f} GB/s" if name == "weights" else f"{name} {rate / 1e9:.0f} GFLOP/s"
