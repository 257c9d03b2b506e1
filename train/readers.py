"""Pictures read ahead of the network, by as many threads as its device leaves."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from alexnet.train.data.folder import Pictures

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


def read_ahead(pictures: Pictures, part: slice, batch: int, threads: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pictures of `part` in their order, `batch` at a time, each thread reading one of the next batches.

    What is read is never more than `threads` batches ahead.
    """
    first, end, _ = part.indices(len(pictures))
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[npt.NDArray[np.uint8]]] = deque()
        for start in range(first, end, batch):
            ahead.append(pool.submit(pictures.__getitem__, slice(start, min(start + batch, end))))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
