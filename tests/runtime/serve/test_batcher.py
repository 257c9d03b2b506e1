from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from alexnet.errors import ModelError
from alexnet.runtime.classify import Runner
from alexnet.runtime.serve.batcher import Batcher, Batching
from tests.runtime.conftest import SIDE, metadata


class Fake:
    """A backend that answers a picture's first value, and can be held up."""

    name = device = precision = "fake"
    metadata = metadata()
    largest_batch = None

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        assert self.go.wait(10)
        self.batches.append(len(pictures))
        if (pictures[:, 0, 0, 0] == 13).any():
            raise ModelError("thirteen")
        answers = np.repeat(pictures[:, :1, 0, 0].astype(np.float32), 3, axis=1)
        answers[answers == 99] = np.nan
        return answers

    def close(self) -> None:
        """Nothing is to be freed."""


def pictures(*values: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE, 3), value, dtype=np.uint8) for value in values])


def run(work: Callable[[Batcher], Awaitable[None]], *backends: Fake, **batching: float) -> list[tuple[int, float]]:
    """Do some work with a batcher, and return what it observed."""
    seen: list[tuple[int, float]] = []

    async def whole() -> None:
        given = Batching(**{"batch": 4, "delay": 0.2, "places": 64, **batching})  # type: ignore[arg-type]
        runners = [Runner(backend, given.batch, None, None) for backend in backends]
        batcher = Batcher(runners, given, lambda number, seconds: seen.append((number, seconds)))
        async with asyncio.timeout(20):
            await work(batcher)
        await batcher.close()

    asyncio.run(whole())
    return seen


def test_requests_that_wait_together_are_run_together_and_get_their_own_answers() -> None:
    backend = Fake()

    async def work(batcher: Batcher) -> None:
        answers = await asyncio.gather(*(batcher.answers(pictures(value)) for value in range(10)))
        assert [answer.tolist() for answer in answers] == [[[value] * 3] for value in range(10)]

    seen = run(work, backend)
    assert backend.batches == [number for number, _ in seen] == [4, 4, 2]


def test_requests_of_several_pictures_are_not_torn_unless_larger_than_a_batch() -> None:
    backend = Fake()

    async def work(batcher: Batcher) -> None:
        sizes = (3, 3, 1, 9)
        answers = await asyncio.gather(*(batcher.answers(pictures(*range(size))) for size in sizes))
        for size, answer in zip(sizes, answers, strict=True):
            assert answer[:, 0].tolist() == list(range(size))

    run(work, backend)
    assert backend.batches == [3, 4, 4, 4, 1]


def test_a_full_batch_does_not_wait() -> None:
    async def work(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.answers(pictures(value)) for value in range(4)))

    backend = Fake()
    run(work, backend, delay=1000.0)
    assert backend.batches == [4]


def test_a_batch_that_fails_does_not_end_the_worker() -> None:
    async def work(batcher: Batcher) -> None:
        for bad, words in ((13, "thirteen"), (99, "NaN or infinity")):
            failed = await asyncio.gather(
                *(batcher.answers(pictures(value)) for value in (bad, 1)), return_exceptions=True
            )
            assert all(isinstance(error, ModelError) and words in error.message for error in failed)
        assert (await batcher.answers(pictures(5)))[0, 0] == 5

    run(work, Fake(), delay=0.05)


def test_a_request_that_was_broken_off_is_not_run() -> None:
    backend = Fake()

    async def work(batcher: Batcher) -> None:
        backend.go.clear()
        running = asyncio.create_task(batcher.answers(pictures(1, 1, 1, 1)))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(batcher.answers(pictures(2)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        backend.go.set()
        await running
        await batcher.answers(pictures(3))

    run(work, backend, delay=0.0)
    assert backend.batches == [4, 1]


def test_pictures_of_a_request_that_was_broken_off_are_let_go_while_others_run() -> None:
    backend = Fake()

    async def work(batcher: Batcher) -> None:
        backend.go.clear()
        running = asyncio.create_task(batcher.answers(pictures(1, 1, 1, 1)))
        await asyncio.sleep(0.05)
        given = pictures(2)
        gone = weakref.ref(given)
        waiting = asyncio.create_task(batcher.answers(given))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        del given, waiting
        gc.collect()
        assert gone() is None
        backend.go.set()
        await running

    run(work, backend, delay=0.0)


def test_a_request_that_is_broken_off_as_it_comes_does_not_end_the_worker() -> None:
    async def work(batcher: Batcher) -> None:
        for _ in range(3):
            broken = batcher.answers(pictures(1))
            broken.send(None)
            with pytest.raises(asyncio.CancelledError):
                broken.throw(asyncio.CancelledError())
            await asyncio.sleep(0.01)
        assert (await batcher.answers(pictures(5)))[0, 0] == 5

    run(work, Fake(), delay=0.0)


def test_replicas_run_side_by_side() -> None:
    first, second = Fake(), Fake()

    async def work(batcher: Batcher) -> None:
        first.go.clear()
        second.go.clear()
        both = asyncio.gather(batcher.answers(pictures(1)), batcher.answers(pictures(2)))
        await asyncio.sleep(0.1)
        first.go.set()
        second.go.set()
        await both

    run(work, first, second, batch=1)
    assert (first.batches, second.batches) == ([1], [1])


def test_places_are_bounded() -> None:
    async def work(batcher: Batcher) -> None:
        assert batcher.take(2) and batcher.take(1)
        assert not batcher.take(1) and batcher.held == 3
        batcher.give(2)
        assert batcher.take(2) and not batcher.take(1)

    run(work, Fake(), places=3)


def test_closing_waits_for_what_runs() -> None:
    backend = Fake()

    async def work(batcher: Batcher) -> None:
        backend.go.clear()
        task = asyncio.create_task(batcher.answers(pictures(1)))
        await asyncio.sleep(0.05)
        threading.Timer(0.1, backend.go.set).start()
        await batcher.close()
        assert backend.batches == [1]
        task.cancel()

    run(work, backend, delay=0.0)
