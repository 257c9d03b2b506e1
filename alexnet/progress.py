"""Progress of long work on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet.errors import printable

LINE_SECONDS = 10.0

# Takes what is done and the total, None where it is not known.
Count = Callable[[int, int | None], None]


def report(text: str) -> None:
    """Report on standard error; what a terminal would take for a command is escaped."""
    click.echo(printable(text), err=True)


@contextmanager
def counted(description: str, quiet: bool = False) -> Iterator[Count]:
    """Yield a function to call with (done, total) as work goes on; `quiet` shows nothing."""
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif not console.is_terminal:
        yield _lines(description, console)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Standard output carries results: the bar must not take it over.
        with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
            task = progress.add_task(description, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(description: str, console: Console) -> Count:
    """Return a counter that prints a line when LINE_SECONDS have passed since the last."""
    began = said = time.monotonic()

    def count(done: int, total: int | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            if total is None:
                text = f"{done:,}, {done / (now - began):,.1f} a second"
            else:
                text = f"{done:,} of {total:,}, {(now - began) / max(done, 1) * (total - done):.0f} s left"
            console.print(f"{description}: {text}", highlight=False)

    return count
