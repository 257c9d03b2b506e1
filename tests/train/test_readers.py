from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from alexnet.train.readers import read_ahead, reader_threads
from tests.train.watched import AskedTogether

PICTURES = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("part", "sizes"), [(slice(None), [4, 4, 3]), (slice(2, 9), [4, 3]), (slice(5, 5), [])])
def test_pictures_come_in_their_order(threads: int, part: slice, sizes: list[int]) -> None:
    found = list(read_ahead(PICTURES, part, 4, threads))
    assert [len(batch) for batch in found] == sizes
    assert np.array_equal(np.concatenate([PICTURES[:0], *found]), PICTURES[part])


def test_threads_read_beside_each_other_and_no_further_ahead_than_they_are() -> None:
    waiting = AskedTogether(PICTURES, 2)
    reading = read_ahead(waiting, slice(0, 10), 1, 2)
    next(reading)
    assert len(waiting.asked) <= 3
    assert len(list(reading)) == 9


def test_beside_a_gpu_the_ranks_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 24)
    gpu = torch.device("cuda")
    assert reader_threads(gpu) == 16
    for ranks, threads in (("4", 6), ("48", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert reader_threads(gpu) == threads
    assert reader_threads(torch.device("cpu")) == 1
