"""One benchmark: open every model in every backend, take turns over all batches, and sum up."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from alexnet.errors import DeviceError
from alexnet.metadata import ModelMetadata
from alexnet.picture_files import find_pictures
from alexnet.progress import counted
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.backends.interface import StagedBackend
from alexnet.runtime.benchmark.limits import limit_subjects
from alexnet.runtime.benchmark.machine import machine
from alexnet.runtime.benchmark.memory import peaks
from alexnet.runtime.benchmark.results import Best, EndToEnd, Report, Row, Stages, best_row, infer_command
from alexnet.runtime.benchmark.subjects import Opened, Reference, backends_for, facts, networks, opened, operations
from alexnet.runtime.benchmark.timing import FEWEST_ROUNDS, Limit, Spread, Subject, ratio, reason, take_turns
from alexnet.runtime.benchmark.whole import end_to_end

# Files of --images that are decoded for the batches and, end to end, again and again.
MOST_IMAGES = 512
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class BenchmarkOptions:
    """What `alexnet benchmark` is asked for.

    `images` a folder to time decoding and files to answers too; `backends` those to measure, all usable ones when
    empty; `batches` the sizes; `limit` how long; `quiet` no progress.
    """

    images: Path | None = None
    backends: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 2, 4, 8)
    limit: Limit = field(default_factory=Limit)
    quiet: bool = False


def benchmark(
    models: Sequence[Path], options: BenchmarkOptions, opening: BackendOptions, say: Callable[[str], None]
) -> Report:
    """Measure `models` and return the report; what fails is reported in its row, and the rest goes on.

    Raises InputError or ModelError for a file that is no model, and DeviceError when nothing at all could be measured.
    """
    images = list(islice(find_pictures([options.images]), MOST_IMAGES)) if options.images else []
    absent: dict[str, str] = {}
    order = []
    for path in dict.fromkeys(models):
        names, left_out = backends_for(path, options.backends)
        order += [(path, name) for name in names]
        absent |= left_out
    everything = []
    for path, name in order:
        say(f"opening {path} by {name}")
        everything.append(opened(path, name, opening, images))
    try:
        return _Benchmark(options, opening, say, images, everything).report(absent)
    finally:
        for one in everything:
            if one.backend is not None:
                one.backend.close()


class _Benchmark:
    """The rows of one benchmark, and the subjects behind them."""

    def __init__(
        self,
        options: BenchmarkOptions,
        opening: BackendOptions,
        say: Callable[[str], None],
        images: list[Path],
        everything: list[Opened],
    ) -> None:
        self.options, self.opening, self.say, self.images = options, opening, say, images
        self.everything = {(one.path, one.name): one for one in everything}
        self.rows: list[Row] = []
        self.subjects: list[Subject] = []
        # Of a backend with several batches in flight; where there is none, a row's own subject gives the throughput.
        self.in_flight: dict[int, Subject] = {}
        self.limits: dict[str, dict[str, Subject]] = {}

    def report(self, absent: dict[str, str]) -> Report:
        """Measure and sum up."""
        for one in self.everything.values():
            self._add(one)
        timed = [*self.subjects, *self.in_flight.values()]
        timed += [subject for limits in self.limits.values() for subject in limits.values()]
        self.say(f"timing {len(self.rows)} combinations in turns")
        with counted("rounds", self.options.quiet) as count:
            take_turns(timed, self.options.limit, count)
        for place, row in enumerate(self.rows):
            self._sum_up(place, row)
        if not any(row.throughput for row in self.rows):
            raise DeviceError(f"nothing could be measured; {self.rows[0].backend}: {self.rows[0].error}")
        self._agree()
        self._measure_memory()
        whole = self._whole() if self.images else []
        return Report(
            machine(),
            max(len(subject.seconds) for subject in self.subjects),
            [facts(path, self._metadata(path)) for path in dict.fromkeys(row.model for row in self.rows)],
            self.rows,
            {name: {key: limit.rate for key, limit in limits.items()} for name, limits in self.limits.items()},
            whole,
            self._best(),
            absent,
        )

    def _metadata(self, path: Path) -> ModelMetadata | None:
        """Return the metadata of a model, None where no backend opened it."""
        backends = (one.backend for (model, _), one in self.everything.items() if model == path)
        return next((backend.metadata for backend in backends if backend), None)

    def _add(self, one: Opened) -> None:
        """Add a row and a subject for each batch size that a backend takes, and its runtime's limits."""
        if one.backend is None:
            self._row(Row(one.path, one.name, self.options.batches[0], error=one.error), None)
            return
        most, fixed = one.backend.largest_batch, one.backend.metadata.batch
        sizes = [size for size in self.options.batches if most is None or size <= most] or [most or 1]
        if fixed:
            # Fewer pictures would be filled up, and timed as if they were fewer.
            sizes = [fixed]
        for size in sizes:
            row = Row(one.path, one.name, size, one.backend.device, one.backend.precision)
            self._row(row, Subject(f"{one.path} {one.name} {size}", one.run(size), size))
            if getattr(one.backend, "in_flight", 1) > 1:
                run, batches = one.run_in_flight(size)
                self.in_flight[len(self.rows) - 1] = Subject("in flight", run, size * batches)
        if one.name not in self.limits and networks(one.backend.metadata):
            try:
                self.limits[one.name] = limit_subjects(one.name, self.opening, one.backend.precision)
            except Exception as error:
                self.say(f"the limits of {one.name} cannot be measured: {reason(error)}")

    def _row(self, row: Row, subject: Subject | None) -> None:
        """Keep a row with its subject; a row without one keeps a subject that has failed."""
        self.rows.append(row)
        self.subjects.append(subject or Subject(row.backend, lambda: None, error=row.error))

    def _sum_up(self, place: int, row: Row) -> None:
        """Fill a row in from its subject."""
        subject = self.subjects[place]
        row.error = subject.error
        if subject.error is not None or not subject.seconds:
            return
        one = self.everything[row.key]
        row.latency = subject.latency
        flying = self.in_flight.get(place, subject)
        row.throughput = Spread.of((flying if flying.seconds else subject).rates)
        base = next((other for other in self.subjects if other.seconds and other.error is None), subject)
        row.ratio = ratio(base, subject)
        row.stages = _stages(one, row.batch)
        self._use_limits(one, row)

    def _use_limits(self, one: Opened, row: Row) -> None:
        """Fill in operations a second and the shares of the runtime's limits."""
        assert one.backend is not None and row.latency is not None
        metadata = one.backend.metadata
        tables = networks(metadata)
        if not tables:
            return
        work = row.batch * operations(metadata)
        row.gigaflops = work / row.latency.median / 1e9
        limits = {name: limit for name, limit in self.limits.get(one.name, {}).items() if limit.seconds}
        arithmetic = max((limit.rate for name, limit in limits.items() if name != "weights"), default=0.0)
        if arithmetic:
            row.shares["arithmetic"] = work / row.latency.median / arithmetic
        if "weights" in limits:
            read = sum(table.parameters for table in tables) * BYTES.get(one.backend.precision, 4)
            row.shares["memory traffic"] = read / row.latency.median / limits["weights"].rate

    def _agree(self) -> None:
        """Compare each backend's answers with the reference's."""
        reference = Reference(self.opening)
        for key, one in self.everything.items():
            rows = [row for row in self.rows if row.key == key and row.latency]
            agreement = reference.agreement(one) if rows else None
            for row in rows:
                row.agreement = agreement

    def _measure_memory(self) -> None:
        """Measure the peak memory of each model and backend in a process of its own."""
        for (path, name), one in self.everything.items():
            rows = [row for row in self.rows if row.key == (path, name) and row.latency]
            if one.backend is None or not rows:
                continue
            self.say(f"measuring the memory of {path} in {name}")
            found = peaks(path, replace(self.opening, name=name), [row.batch for row in rows])
            for row in rows:
                row.memory = found.get(row.batch)

    def _whole(self) -> list[EndToEnd]:
        """Measure files to answers in each backend's best batch."""
        asked = self.options.limit
        limit = Limit(asked.seconds / 2, None if asked.rounds is None else min(asked.rounds, FEWEST_ROUNDS))
        found = []
        for key, one in self.everything.items():
            row = best_row([row for row in self.rows if row.key == key])
            if row is None:
                continue
            self.say(f"timing {row.model} in {row.backend} from files to answers, batch {row.batch}")
            workers = self.opening.threads or os.cpu_count() or 1
            result = end_to_end(one, row.batch, self.images, workers, limit)
            if isinstance(result, str):
                self.say(f"files to answers failed: {result}")
            else:
                found.append(result)
        return found

    def _best(self) -> list[Best]:
        """Return the best backend and batch of each model."""
        found = []
        for path in dict.fromkeys(row.model for row in self.rows):
            row = best_row([row for row in self.rows if row.model == path])
            if row is not None:
                command = infer_command(row, self.options.images, flags(self.opening))
                found.append(Best(path, row.backend, row.batch, command))
        return found


def _stages(one: Opened, batch: int) -> Stages | None:
    """Return the median of a batch's parts, where the backend can tell them apart."""
    if not isinstance(one.backend, StagedBackend):
        return None
    pictures = one.batch(batch)
    try:
        runs = [run for _ in range(FEWEST_ROUNDS) if (run := one.backend.stages(pictures)) is not None]
    except Exception:
        # The figures without this one are still good: a row's own error is about the batch itself.
        return None
    if not runs:
        return None
    return Stages(*(Spread.of([run[place] for run in runs]).median for place in range(3)))


def flags(opening: BackendOptions) -> list[str]:
    """Return the options of the command line that open a model like this, but for the backend's name."""
    values = {
        "--gpu": opening.gpu or None,
        "--precision": opening.precision,
        "--threads": opening.threads,
        "--hint": opening.hint if opening.hint != "latency" else None,
        "--like": opening.like,
        "--labels": opening.labels,
        "--side": opening.side if opening.labels else None,
        "--resize": opening.resize if opening.labels else None,
        "--cache": opening.cache,
    }
    words = [word for name, value in values.items() if value is not None for word in (name, str(value))]
    return words + [f"--{name}" for name in ("allow-cpu", "trust") if getattr(opening, name.replace("-", "_"))]
