from __future__ import annotations

import numpy as np
import pytest

from alexnet.calibration.gate import PairedDrop, accuracy, paired, right


def test_the_drop_and_its_interval_have_the_published_values() -> None:
    # Adjusted Wald by hand: (12.5 - 4.5) / 102 -+ 1.959964 sqrt(17 - 64 / 102) / 102.
    drop = PairedDrop(pictures=100, before=0.9, after=0.82, lost=12, gained=4)
    assert drop.drop == pytest.approx(8.0)
    assert drop.interval == pytest.approx((0.06804, 15.61824), abs=1e-4)


def test_no_difference_is_no_certainty() -> None:
    low, high = PairedDrop(pictures=500, before=0.92, after=0.92, lost=0, gained=0).interval
    assert low == pytest.approx(-0.3904, abs=1e-3)
    assert high == pytest.approx(0.3904, abs=1e-3)


def test_more_pictures_narrow_the_interval() -> None:
    widths = []
    for scale in (1, 10, 100):
        low, high = PairedDrop(100 * scale, 0.9, 0.88, 4 * scale, 2 * scale).interval
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_pictures_are_paired() -> None:
    before = np.array([True, True, False, False, True])
    after = np.array([True, False, True, False, False])
    found = paired(before, after)
    assert (found.lost, found.gained, found.before, found.after) == (2, 1, 0.6, 0.4)


def test_top5_counts_the_five_best_and_nan_counts_nothing() -> None:
    answers = np.tile(np.linspace(0.3, 0.0, 7, dtype=np.float32), (3, 1))
    answers[2] = np.nan
    labels = np.array([4, 5, 0])
    assert right(answers, labels, 5).tolist() == [True, False, False]
    assert right(answers, np.array([0, 1, 0]), 1).tolist() == [True, False, False]
    found = accuracy(answers[:1], answers[2:], np.array([0]))
    assert found.top1.drop == found.top5.drop == 100.0
