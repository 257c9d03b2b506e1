"""Training as a person sees it: what is trained and why, a bar within an epoch, a line after each."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from alexnet.errors import InputError, TrainingError
from alexnet.progress import counted
from alexnet.recipe import Recipe
from alexnet.recipe_file import load_recipe
from alexnet.run import Run, new_run
from alexnet.train.data.opened import Count
from alexnet.train.data.remote import fetch, is_url
from alexnet.train.elastic import check_restarts, goes_on, record_job
from alexnet.train.loop import Trainer
from alexnet.train.mesh import World, join_world, leave_world
from alexnet.train.report import EpochReport, clock
from alexnet.train.session import Reporting, begin, recorded_data, resume


@dataclass(frozen=True)
class Order:
    """What the command line asks for: a new run of a recipe, or to go on with `resumed`.

    `data` is a folder or a URL. `split` puts each column of the network on a rank of its own.
    """

    recipe: str
    data: str | None
    overrides: tuple[str, ...]
    out: Path | None
    resumed: Path | None
    init_from: Path | None
    split: bool
    threads: int | None


def train_with_progress(order: Order, runs: Path) -> None:
    """Train a new run, or go on with one, and say what to do next; errors are those of the session."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(order.threads or max(1, (os.cpu_count() or 1) // ranks))
    check_restarts(order.out or order.resumed)
    recipe = Run(order.resumed).recipe() if order.resumed else load_recipe(order.recipe, order.overrides)
    given = _given_data(order, recipe)
    # Before the ranks join: a machine takes the time that it takes, and no rank waits in a message for it.
    folder = _fetched(given) if is_url(given) else Path(given)
    world = join_world(recipe.network.columns, order.split)
    try:
        _train(order, recipe, runs, world, given, folder)
    except RuntimeError as error:
        if world.data_size * world.columns == 1:
            raise
        raise TrainingError(
            f"this rank lost another one ({str(error).splitlines()[0]}); every rank has stopped, go on from the last "
            "checkpoint with --resume RUN under the same torchrun command"
        ) from None
    finally:
        leave_world()


def _train(order: Order, recipe: Recipe, runs: Path, world: World, given: str, folder: Path) -> None:
    """Train in a joined world; only its first rank speaks."""
    with _stop_on_signals() as stop, _Display(quiet=not world.first) as display:
        reporting = Reporting(display.say, display.loading, display.on_batch, display.on_epoch, display.warn, stop)
        if order.resumed is not None:
            trainer = resume(Run(order.resumed), folder, reporting, world)
        else:
            run = Run(order.out) if order.out else new_run(runs, recipe.name)
            trainer = (
                resume(run, folder, reporting, world)
                if goes_on(run, world)
                else _begin(order, recipe, run, reporting, world, given, folder)
            )
        display.say(_introduction(trainer))
        display.width = len(str(trainer.recipe.schedule.epochs))
        state = trainer.fit()
    display.say(
        f"trained {state.epoch} epochs in {clock(state.seconds)}: lowest top-1 error {state.best_error:.2%}, "
        f"in {trainer.run.path}\n"
        "next: alexnet export --onnx"
    )


def _begin(
    order: Order, recipe: Recipe, run: Run, reporting: Reporting, world: World, given: str, folder: Path
) -> Trainer:
    """Return the trainer of a new run; InputError when there is one in its directory."""
    if run.checkpoint_path.exists():
        raise InputError(f"{run.path} already holds a run; go on with --resume {run.path}, or give another --out")
    source = Run(order.init_from) if order.init_from else None
    trainer = begin(recipe, folder, run, reporting, world, source, url=given if is_url(given) else "")
    if world.first:
        record_job(run)
    return trainer


def _given_data(order: Order, recipe: Recipe) -> str:
    """Return the folder or URL of the data: the given one, that of the run to go on with, or the recipe's own."""
    if order.data is None and order.resumed is not None:
        return recorded_data(Run(order.resumed))
    return order.data or str(Path("data") / recipe.name)


def _fetched(url: str) -> Path:
    """Return the folder of the cache with the data of a URL, shown as they come."""
    with counted(f"fetching {url}, MB", quiet=os.environ.get("LOCAL_RANK", "0") != "0") as count:
        return fetch(url, lambda done, total: count(done // 10**6, total // 10**6))


def _introduction(trainer: Trainer) -> str:
    """Return what is about to be trained, each value with its reason."""
    network, recipe, world = trainer.network.architecture, trainer.recipe, trainer.world
    text = (
        f"run {trainer.run.path}: {network.parameters:,} parameters in {network.columns} columns, "
        f"{network.classes} classes, crops of {network.crop} from pictures of {recipe.data.picture} pixels\n"
        f"{len(trainer.train.labels):,} pictures to train on, {len(trainer.val.labels):,} held out; "
        f"batches of {recipe.sgd.batch}, learning rate {trainer.state.learning_rate:g}; "
        f"{_device(trainer)}, {recipe.compute.precision}"
    )
    if world.data_size * world.columns > 1:
        text += f"; mesh of {world.data_size} data x {world.columns} column ranks"
    if trainer.state.epoch or trainer.state.batch:
        place = f"epoch {trainer.state.epoch + 1}, batch {trainer.state.batch + 1} of {trainer.batches.number}"
        text += f"\ngoing on at {place}"
    return text


def _device(trainer: Trainer) -> str:
    """Return what the run computes on, in words."""
    if trainer.device.type == "cuda":
        return torch.cuda.get_device_name(trainer.device)
    return f"CPU, {torch.get_num_threads()} threads"


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM has come; a second SIGINT stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        click.echo("\nstopping: finishing the step and saving (again: stop at once)", err=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Display:
    """A bar on a terminal, nothing between the epochs' lines elsewhere; `quiet` for ranks that do not speak."""

    quiet: bool = False
    width: int = 2
    progress: Progress = field(
        default_factory=lambda: Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
    )
    task: TaskID | None = None
    said: float = field(default_factory=time.monotonic)

    def __enter__(self) -> _Display:
        if self.progress.console.is_terminal and not self.quiet:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def _show(self, description: str, done: int, total: int) -> None:
        if self.quiet or not self.progress.console.is_terminal:
            return
        if self.task is None:
            self.task = self.progress.add_task(description, total=total)
        self.progress.update(self.task, description=description, completed=done, total=total)

    def loading(self, part: str) -> Count:
        """Return what counts the pictures of one part as they are read."""
        return lambda done, total: self._show(f"reading {part}", done, total)

    def on_batch(self, batch: int, batches: int, loss: float) -> None:
        """Move the bar on by a batch."""
        self._show(f"loss {loss:.3f}", batch, batches)

    def on_epoch(self, report: EpochReport) -> None:
        """Print the epoch's line above the bar."""
        self.say(report.line(self.width))
        if not self.quiet:
            click.echo(f"  |w| (|dw|/|w|): {report.layer_line()}", err=True)

    def say(self, text: str) -> None:
        """Print one line of text."""
        if not self.quiet:
            click.echo(text)

    def warn(self, text: str) -> None:
        """Print what looks wrong."""
        if not self.quiet:
            click.echo(f"warning: {text}", err=True)
