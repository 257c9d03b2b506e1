"""Pictures read ahead of the network, by as many threads as its device leaves."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from alexnet.train.data.folder import Pictures

T = TypeVar("T")

# More threads than these would wait for memory and for each other.
MOST = 16


def reader_threads(device: torch.device) -> int:
    """Return how many threads read pictures beside a network on `device`.

    A CPU's cores are the network's: one. Beside a GPU it is all the cores that this rank has of its machine.
    """
    if device.type == "cpu":
        return 1
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(1, cores), MOST)


def done_ahead(pool: Executor, calls: Iterable[Callable[[], T]], depth: int) -> Iterator[T]:
    """Yield what the calls return, in their order, with up to `depth` of the next ones under way in `pool`."""
    ahead: deque[Future[T]] = deque()
    for call in calls:
        ahead.append(pool.submit(call))
        if len(ahead) > depth:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def read_ahead(pictures: Pictures, part: slice, batch: int, threads: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pictures of `part` in their order, `batch` at a time, each thread reading one of the next batches."""
    first, end, _ = part.indices(len(pictures))
    parts = (slice(start, min(start + batch, end)) for start in range(first, end, batch))
    with ThreadPoolExecutor(threads) as pool:
        yield from done_ahead(pool, (partial(pictures.__getitem__, chosen) for chosen in parts), threads)
