"""Dynamic batches: requests that wait together are run together, on one of several replicas of a model.

Everything but the model itself runs in the event loop, so nothing is locked. What waits is bounded by places: one a
picture, from before it is decoded until it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from alexnet.runtime.backends import Floats, Pixels
from alexnet.runtime.classify import Runner, check_finite


@dataclass(frozen=True)
class Batching:
    """How requests become batches.

    `batch` pictures are run at once at most; the first of a batch waits `delay` seconds for others; `places` are the
    pictures that may wait or run.
    """

    batch: int = 8
    delay: float = 0.002
    places: int = 64


@dataclass(frozen=True, eq=False)
class _Job:
    """Pictures of one request [N, S, S, 3], and where their probabilities [N, classes] go."""

    pictures: Pixels
    answers: asyncio.Future[Floats]


class Batcher:
    """Runs pictures on a model's replicas; `observe` is told the pictures and the seconds of each batch."""

    def __init__(self, replicas: Sequence[Runner], batching: Batching, observe: Callable[[int, float], None]) -> None:
        self.batching, self.observe = batching, observe
        self.held = 0
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._gathering = asyncio.Lock()
        # A backend may run several batches side by side (TensorRT).
        workers = [runner for runner in replicas for _ in range(getattr(runner.backend, "in_flight", 1))]
        self._pool = ThreadPoolExecutor(len(workers), thread_name_prefix="replica")
        self._tasks = [asyncio.create_task(self._work(runner)) for runner in workers]

    def take(self, number: int) -> bool:
        """Take places for pictures, and return whether there were as many left."""
        if self.held + number > self.batching.places:
            return False
        self.held += number
        return True

    def give(self, number: int) -> None:
        """Give places back."""
        self.held -= number

    async def answers(self, pictures: Pixels) -> Floats:
        """Return the probabilities [N, classes] of pictures [N, S, S, 3]; raises what the model raises.

        Pictures whose caller is cancelled are let go at once, not when their turn comes.
        """
        job = _Job(pictures, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        try:
            return await job.answers
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._jobs.remove(job)
            raise

    async def close(self) -> None:
        """End the workers; what still runs is waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def _work(self, runner: Runner) -> None:
        """Run batch after batch on one replica."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._gather()
            began = perf_counter()
            try:
                answers = await loop.run_in_executor(self._pool, _run, runner, [job.pictures for job in jobs])
            except Exception as error:
                for job in jobs:
                    if not job.answers.done():
                        job.answers.set_exception(error)
                continue
            self.observe(len(answers), perf_counter() - began)
            first = 0
            for job in jobs:
                last = first + len(job.pictures)
                if not job.answers.done():
                    job.answers.set_result(answers[first:last])
                first = last

    async def _gather(self) -> list[_Job]:
        """Return the jobs of the next batch: the first one there is, and what comes within the delay and fits."""
        async with self._gathering:
            jobs: list[_Job] = []
            number, until = 0, None
            while number < self.batching.batch:
                if not self._jobs and not await self._another(until):
                    break
                if jobs and number + len(self._jobs[0].pictures) > self.batching.batch:
                    break
                job = self._jobs.popleft()
                # The task of a request that was broken off has cancelled its future.
                if not job.answers.done():
                    jobs.append(job)
                    number += len(job.pictures)
                    until = until or asyncio.get_running_loop().time() + self.batching.delay
            return jobs

    async def _another(self, until: float | None) -> bool:
        """Wait for a job and return whether one came before the time `until`."""
        try:
            async with asyncio.timeout_at(until):
                # One that came may be gone again: its request was broken off.
                while not self._jobs:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True


def _run(runner: Runner, parts: list[Pixels]) -> Floats:
    """Return the probabilities of all parts together; ModelError when they are no numbers."""
    answers, _ = runner.answers(np.concatenate(parts) if len(parts) > 1 else parts[0])
    check_finite(answers)
    return answers
