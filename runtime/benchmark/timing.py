"""Turns and their statistics: everything that is compared runs once a round, so that a busy machine disturbs all alike.

Ratios are taken round by round, between runs that lie close together, and reported with their quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from alexnet.errors import AlexNetError

# Seconds between two runs: the threads of a runtime spin for a while after a run, on the next one's cores.
PAUSE = 0.02
# Rounds that are made whatever the time they take: below it a spread says nothing.
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Latency:
    """Statistics of one run's seconds over all rounds; percentiles are interpolated linearly."""

    runs: int
    minimum: float
    mean: float
    median: float
    p95: float
    p99: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency:
        """Return the statistics of at least one run."""
        values = np.asarray(seconds, dtype=np.float64)
        median, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
        return Latency(len(values), float(values.min()), float(values.mean()), median, p95, p99)

    def to_values(self) -> dict[str, float]:
        """Return the fields as JSON values, times in milliseconds."""
        return {name: value if name == "runs" else value * 1e3 for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds: its median and its quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        low, median, high = (
            float(value) for value in np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
        )
        return Spread(median, low, high)

    def __str__(self) -> str:
        """Return the median with the quartiles in brackets."""
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass
class Subject:
    """What takes turns: `run` does `work` (pictures, operations or bytes) once; `error` says why it no longer does.

    With `own_clock`, `run` returns the seconds that the work took, which are not those of the call.
    """

    name: str
    run: Callable[[], object]
    work: float = 1.0
    own_clock: bool = False
    seconds: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def latency(self) -> Latency:
        """The statistics of the runs so far."""
        return Latency.of(self.seconds)

    @property
    def rate(self) -> float:
        """Work a second, by the median run."""
        return self.work / self.latency.median

    @property
    def rates(self) -> list[float]:
        """Work a second, round by round."""
        return [self.work / seconds for seconds in self.seconds]


@dataclass(frozen=True)
class Limit:
    """How long to measure: a number of rounds, or, without one, seconds and at least FEWEST_ROUNDS."""

    seconds: float = 10.0
    rounds: int | None = None

    def reached(self, rounds: int, seconds: float) -> bool:
        """Return whether enough has been measured."""
        if self.rounds is not None:
            return rounds >= self.rounds
        return rounds >= FEWEST_ROUNDS and seconds >= self.seconds


def ratio(base: Subject, other: Subject) -> Spread:
    """Return how many times `base`'s work a second `other` does, taken round by round."""
    pairs = zip(base.rates, other.rates, strict=False)
    return Spread.of([theirs / ours for ours, theirs in pairs])


def take_turns(
    subjects: Sequence[Subject], limit: Limit, count: Callable[[int, int | None], None] = lambda done, total: None
) -> None:
    """Warm every subject up with one run, then run all of them once a round, until the limit is reached.

    Every other round goes backwards, so that none always follows the same neighbour. A subject that fails keeps the
    reason as its `error` and leaves the rounds; the others go on. `count` is told the rounds done and their number,
    None where time decides.
    """
    for subject in subjects:
        attempt(subject, subject.run)
    began, rounds = time.perf_counter(), 0
    while any(subject.error is None for subject in subjects) and not limit.reached(rounds, time.perf_counter() - began):
        for subject in subjects if rounds % 2 == 0 else reversed(subjects):
            if subject.error is None:
                time.sleep(PAUSE)
                attempt(subject, lambda subject=subject: _timed(subject))  # type: ignore[misc]
        rounds += 1
        count(rounds, limit.rounds)


def _timed(subject: Subject) -> None:
    """Run a subject and keep its seconds."""
    began = time.perf_counter()
    told = subject.run()
    elapsed = time.perf_counter() - began
    subject.seconds.append(told if subject.own_clock and isinstance(told, float) else elapsed)


def attempt(subject: Subject, run: Callable[[], object]) -> None:
    """Run something of a subject; what it raises becomes the subject's error."""
    try:
        run()
    except Exception as error:
        subject.error = reason(error)


def reason(error: Exception) -> str:
    """Return an exception in words: an error's message, the type as well where it is none of the toolchain's."""
    return error.message if isinstance(error, AlexNetError) else f"{type(error).__name__}: {error}"
