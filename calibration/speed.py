"""What keeping layers in float costs: models timed in turns in ONNX Runtime, so that all meet the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.metadata import INPUT, OUTPUT

ROUNDS = 7


def seconds_in_turns(
    sessions: Mapping[str, Any], fed: npt.NDArray[np.generic], rounds: int = ROUNDS
) -> dict[str, float]:
    """Return each session's median seconds for one batch, after a first run of each that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(rounds + 1):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run([OUTPUT], {INPUT: fed})
            if turn:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in taken.items()}
