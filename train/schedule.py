"""The learning rate, section 5: divided by 10 when the validation error stops improving, three times."""

from __future__ import annotations

from dataclasses import replace

from alexnet.recipe import ScheduleRecipe
from alexnet.train.checkpoint import TrainingState

FACTOR = 10.0


def after_epoch(schedule: ScheduleRecipe, state: TrainingState, error: float) -> TrainingState:
    """Return the state after an epoch that ended with the validation top-1 error `error`, 0 to 1.

    With `drop_after` the recipe's epochs decide; otherwise `patience` epochs without a lower error do, and
    the division after the last of `drops` ends training instead.
    """
    improved = error < state.best_error
    state = replace(state, best_error=min(error, state.best_error), stale=0 if improved else state.stale + 1)
    if schedule.drop_after:
        if state.epoch in schedule.drop_after:
            state = _drop(state)
    elif state.stale >= schedule.patience:
        if state.drops >= schedule.drops:
            return replace(state, finished=True)
        state = _drop(state)
    return replace(state, finished=state.epoch >= schedule.epochs)


def _drop(state: TrainingState) -> TrainingState:
    """Return the state with the learning rate divided, the wait begun anew."""
    return replace(state, learning_rate=state.learning_rate / FACTOR, drops=state.drops + 1, stale=0)


def conv1_factor(schedule: ScheduleRecipe, epoch: int) -> float:
    """Return the factor on conv1's learning rate in the epoch after `epoch` finished ones.

    The 2012 source slowed its first layer late in training and then froze it; the text has neither.
    """
    if schedule.freeze_conv1_after and epoch >= schedule.freeze_conv1_after:
        return 0.0
    return 1 / FACTOR if schedule.slow_conv1_after and epoch >= schedule.slow_conv1_after else 1.0
