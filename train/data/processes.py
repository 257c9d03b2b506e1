"""A map over processes that ends at once when it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


@contextlib.contextmanager
def process_map(workers: int) -> Iterator[Callable[..., Iterator[int]]]:
    """Yield a map over `workers` processes, or this process's own for one; what waits is dropped on an error.

    Processes are started afresh rather than forked: the caller may hold threads, which do not survive a fork.
    """
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
