"""A build that shows what it does and can be stopped. TensorRT API: IProgressMonitor."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from alexnet.errors import Interrupted
from alexnet.progress import LINE_SECONDS
from alexnet.tensorrt_api import TensorRT

Made = TypeVar("Made")


class Shown(Protocol):
    """What is told of the phases of a build; called from TensorRT's own threads."""

    def start(self, phase: str, steps: int) -> None:
        """A phase begins."""

    def step(self, phase: str, done: int) -> None:
        """Some of its steps are done."""

    def finish(self, phase: str) -> None:
        """A phase has ended."""


def progress_monitor(trt: TensorRT, shown: Shown, stop: threading.Event) -> Any:
    """Return a monitor that passes the phases on to `shown`, and ends the build at its next step once `stop` is set."""

    # The base class comes from whichever of the two modules is installed, which mypy cannot know.
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            shown.start(phase, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            shown.step(phase, step + 1)
            return not stop.is_set()

        def phase_finish(self, phase: str) -> None:
            shown.finish(phase)

    return Monitor()


def stoppable(build: Callable[[], Made], stop: threading.Event, what: str) -> Made:
    """Return what `build` makes, in a thread of its own so that Ctrl-C is heard; Interrupted once it has been stopped.

    An exception that left a monitor's callback would end the process: a signal only sets `stop`, which the monitor
    answers TensorRT with, and the build ends at its next step.
    """
    with _signals(stop), ThreadPoolExecutor(max_workers=1, thread_name_prefix="build") as pool:
        future = pool.submit(build)
        # Waking now and then lets signals be handled on every platform.
        while not future.done():
            wait([future], timeout=0.2)
        made = future.result()
    if stop.is_set():
        raise Interrupted(f"stopped while building {what}; nothing was written, run the same command again")
    return made


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop` meanwhile; only the main thread may say so, in others nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda number, frame: stop.set()) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler or signal.SIG_DFL)


@contextmanager
def shown_build(quiet: bool = False) -> Iterator[Shown]:
    """Yield what shows a build's phases on standard error: bars on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if quiet:
        yield Silent()
    elif not console.is_terminal:
        yield Lines(console)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
            yield Bars(progress)


class Silent:
    """Shows nothing."""

    def start(self, phase: str, steps: int) -> None:
        """Take no notice."""

    def step(self, phase: str, done: int) -> None:
        """Take no notice."""

    def finish(self, phase: str) -> None:
        """Take no notice."""


class Bars:
    """A bar for each phase that is under way."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, Any] = {}

    def start(self, phase: str, steps: int) -> None:
        """Show a bar."""
        if phase not in self.tasks:
            self.tasks[phase] = self.progress.add_task(phase, total=steps)

    def step(self, phase: str, done: int) -> None:
        """Move it on."""
        if phase in self.tasks:
            self.progress.update(self.tasks[phase], completed=done)

    def finish(self, phase: str) -> None:
        """Take it away."""
        if phase in self.tasks:
            self.progress.remove_task(self.tasks.pop(phase))


class Lines:
    """A line when LINE_SECONDS have passed since the last, with the innermost phase."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: dict[str, int] = {}
        self.began = self.said = time.monotonic()

    def start(self, phase: str, steps: int) -> None:
        """Remember how many steps it has."""
        self.steps[phase] = steps

    def step(self, phase: str, done: int) -> None:
        """Print a line when it is time for one."""
        now = time.monotonic()
        if now - self.said >= LINE_SECONDS:
            self.said = now
            total = self.steps.get(phase, 0)
            text = f"building, {now - self.began:.0f} s: {phase}, {done} of {total}"
            self.console.print(text, highlight=False, markup=False)

    def finish(self, phase: str) -> None:
        """Forget it."""
        self.steps.pop(phase, None)
