from __future__ import annotations

from dataclasses import replace

import pytest

from alexnet.recipe import ScheduleRecipe
from alexnet.train.checkpoint import TrainingState
from alexnet.train.schedule import after_epoch, conv1_factor


def play(schedule: ScheduleRecipe, errors: list[float]) -> list[TrainingState]:
    """Return the state after each epoch, up to the one that finishes."""
    state, states = TrainingState(learning_rate=0.01), []
    for error in errors:
        state = after_epoch(schedule, replace(state, epoch=state.epoch + 1), error)
        states.append(state)
        if state.finished:
            break
    return states


def test_three_divisions_when_the_error_stops_improving_then_the_end() -> None:
    states = play(ScheduleRecipe(epochs=90, patience=2, drops=3), [0.5] + [0.6] * 20)
    rates = [round(state.learning_rate, 10) for state in states]
    assert rates == [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001, 0.00001, 0.00001, 0.00001]
    assert states[-1].finished


def test_an_improvement_begins_the_wait_anew() -> None:
    states = play(ScheduleRecipe(epochs=90, patience=2), [0.5, 0.6, 0.4, 0.5, 0.3, 0.3, 0.3])
    assert [state.learning_rate for state in states] == [0.01] * 6 + [pytest.approx(0.001)]
    assert states[-1].best_error == 0.3


def test_given_epochs_override_the_error() -> None:
    states = play(ScheduleRecipe(epochs=5, drop_after=(2, 4), patience=1), [0.9] * 9)
    assert [round(state.learning_rate, 10) for state in states] == [0.01, 0.001, 0.001, 0.0001, 0.0001]
    assert [state.finished for state in states] == [False] * 4 + [True]


def test_the_most_epochs_end_it() -> None:
    states = play(ScheduleRecipe(epochs=3), [0.5, 0.4, 0.3, 0.2])
    assert len(states) == 3


def test_conv1_is_slowed_and_frozen_as_in_2012() -> None:
    source = ScheduleRecipe(slow_conv1_after=67, freeze_conv1_after=72)
    assert [conv1_factor(source, epoch) for epoch in (0, 66, 67, 71, 72, 90)] == [1.0, 1.0, 0.1, 0.1, 0.0, 0.0]
    assert {conv1_factor(ScheduleRecipe(), epoch) for epoch in range(90)} == {1.0}
