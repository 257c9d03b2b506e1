from __future__ import annotations

import pytest

from alexnet.errors import ModelError
from alexnet.runtime.benchmark import timing
from alexnet.runtime.benchmark.timing import FEWEST_ROUNDS, Latency, Limit, Spread, Subject, ratio, take_turns


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PAUSE", 0.0)


def test_the_statistics_of_known_numbers() -> None:
    found = Latency.of([number / 1000 for number in range(101)])
    assert (found.runs, found.minimum) == (101, 0.0)
    assert (found.mean, found.median) == (pytest.approx(0.05), pytest.approx(0.05))
    assert (found.p95, found.p99) == (pytest.approx(0.095), pytest.approx(0.099))
    assert found.to_values()["p95"] == pytest.approx(95.0)
    assert found.to_values()["runs"] == 101


def test_percentiles_between_two_runs_are_interpolated() -> None:
    found = Latency.of([1.0, 2.0])
    assert (found.median, found.p95) == (pytest.approx(1.5), pytest.approx(1.95))


def test_a_spread_is_median_and_quartiles() -> None:
    spread = Spread.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)
    assert str(spread) == "3.00 (2.00-4.00)"


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was three times slower in the second round, for both: the ratio does not move."""
    base = Subject("base", lambda: None, work=1, seconds=[1.0, 3.0, 1.0])
    other = Subject("other", lambda: None, work=4, seconds=[2.0, 6.0, 2.0])
    assert ratio(base, other) == Spread(2.0, 2.0, 2.0)
    assert other.rate == 2.0


def test_all_run_once_a_round_and_every_other_round_backwards() -> None:
    ran: list[str] = []
    subjects = [Subject(name, lambda name=name: ran.append(name)) for name in "abc"]  # type: ignore[misc]
    take_turns(subjects, Limit(rounds=3))
    assert "".join(ran) == "abc" + "abc" + "cba" + "abc"
    assert [len(subject.seconds) for subject in subjects] == [3, 3, 3]


def test_one_that_fails_leaves_the_rounds_and_the_others_go_on() -> None:
    calls = iter(range(100))

    def fails() -> None:
        if next(calls) == 2:
            raise ModelError("no more")

    subjects = [Subject("a", lambda: None), Subject("b", fails)]
    take_turns(subjects, Limit(rounds=4))
    assert subjects[0].error is None
    assert len(subjects[0].seconds) == 4
    assert subjects[1].error == "no more"
    assert next(calls) == 3


def test_a_fault_of_a_library_is_reported_with_its_type() -> None:
    subject = Subject("a", lambda: 1 / 0)
    take_turns([subject], Limit(rounds=2))
    assert subject.error == "ZeroDivisionError: division by zero"
    assert not subject.seconds


def test_a_time_limit_still_makes_the_fewest_rounds() -> None:
    subject = Subject("a", lambda: None)
    take_turns([subject], Limit(seconds=0.0))
    assert len(subject.seconds) == FEWEST_ROUNDS


def test_a_subject_with_a_clock_of_its_own_is_believed() -> None:
    subject = Subject("a", lambda: 12.5, work=25, own_clock=True)
    take_turns([subject], Limit(rounds=2))
    assert subject.seconds == [12.5, 12.5]
    assert subject.rate == 2.0


def test_progress_is_told_with_the_total_where_it_is_known() -> None:
    told: list[tuple[int, int | None]] = []
    take_turns([Subject("a", lambda: None)], Limit(rounds=2), lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
