"""One worker: an actor that holds the engines and classifies one part after another, as `alexnet infer` does.

Errors travel as values, so that the command that started the workers ends with their message and exit code.
"""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alexnet import __version__
from alexnet.errors import AlexNetError, DeviceError, InputError, PictureError, UnexpectedError
from alexnet.pictures import Pixels, Preprocessing, load_picture, picture_of
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.classify import Result, classify
from alexnet.runtime.cluster.options import ClusterOptions
from alexnet.runtime.cluster.parts import Part
from alexnet.runtime.cluster.results import Folder
from alexnet.runtime.cluster.shards import Entry, parquet_entries, tar_entries
from alexnet.runtime.ensemble import open_engines
from alexnet.runtime.output import Made
from alexnet.runtime.verify import verify_on_first_use

# A part that has ended this many workers is not tried again: what is in it may well be the reason.
ATTEMPTS = 4


@dataclass(frozen=True)
class Job:
    """What every worker is told: the engines, how to open them, what is asked for, and where paths begin."""

    engines: tuple[Path, ...]
    opened: BackendOptions
    options: ClusterOptions
    folder: Path
    version: str = __version__


@dataclass(frozen=True)
class Report:
    """What became of a part: its pictures and the bad ones, how often it was begun, and by what it was done.

    Where the worker cannot go on, `fault` is the message and `code` the exit code.
    """

    number: int
    done: int = 0
    bad: int = 0
    attempts: int = 1
    made: str = ""
    fault: str = ""
    code: int = 0

    def to_json(self) -> str:
        """Return the report as one line of ASCII."""
        return json.dumps(asdict(self))


class Worker:
    """Opens the engines once; called with a batch of one part, returns a batch of its report."""

    def __init__(self, job: Job) -> None:
        self.job, self.fault = job, None
        try:
            self._open()
        except AlexNetError as error:
            self.fault = error

    def _open(self) -> None:
        """Open the engines in the folder in which the command was given."""
        job = self.job
        if job.version != __version__:
            raise DeviceError(
                f"a machine of the cluster has version {__version__}, this one {job.version}; install one"
            )
        try:
            os.chdir(job.folder)
        except OSError as error:
            raise InputError(
                f"{job.folder} is not there on {platform.node()} ({error.strerror}); a cluster needs the pictures, "
                "the engines and the results in folders that every machine sees under the same path"
            ) from None
        for engine in job.engines:
            verify_on_first_use(engine, job.opened, lambda text: None)
        self.backend = open_engines(list(job.engines), job.opened, job.options.crops)
        self.made = Made(tuple(map(str, job.engines)), self.backend)
        self.folder = Folder(job.options.output, job.options.form)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Classify the part in a batch {"part": [JSON]} and return {"report": [JSON]}."""
        part = Part.from_json(str(batch["part"][0]))
        try:
            report = self._classified(part)
        except AlexNetError as error:
            report = Report(part.number, fault=error.message, code=error.exit_code)
        except Exception as error:
            fault = f"{type(error).__name__}: {error} in part {part.number}; this is a fault of the toolchain"
            report = Report(part.number, fault=fault, code=UnexpectedError.exit_code)
        return {"report": [report.to_json()]}

    def _classified(self, part: Part) -> Report:
        """Classify a part and write its file."""
        if self.fault:
            raise self.fault
        if (counts := self.folder.count(part.number)) is not None:
            # Ray gives again what it gave together, and a worker that died may have finished some of it.
            return Report(part.number, *counts, made=self.made.words())
        attempts = self._begin(part)
        options = self.job.options
        held = _Held(_entries(part), options.scaled)
        results = classify(
            self.backend,
            held.paths(),
            top=options.top,
            batch=options.batch,
            workers=self.job.opened.threads or os.cpu_count() or 1,
            load=held.load,
        )
        done, bad = self.folder.write(part.number, map(held.named, results), self.made)
        return Report(part.number, done, bad, attempts, self.made.words())

    def _begin(self, part: Part) -> int:
        """Note that a part is begun and return how often it was; DeviceError when it ended too many workers."""
        path = self.folder.attempts(part.number)
        with path.open("ab") as file:
            file.write(b".")
        attempts = path.stat().st_size
        if attempts > ATTEMPTS:
            path.unlink()
            raise DeviceError(
                f"{ATTEMPTS} workers died over part {part.number} ({part.paths[0]} to {part.paths[-1]}), for want of "
                "memory or for a picture in it; take that out, or give fewer --workers or a smaller --batch, and go on "
                "with --resume"
            )
        return attempts


def _entries(part: Part) -> Iterator[Entry]:
    """Return the pictures of a part."""
    match part.kind:
        case "files":
            return map(Entry, part.paths)
        case "tar":
            return tar_entries(part.paths[0])
        case "parquet":
            return parquet_entries(part.paths[0], part.group, part.first)


class _Held:
    """The pictures that are being classified, by number: `classify` knows paths, and what is in a shard has none."""

    def __init__(self, entries: Iterator[Entry], scaled: bool) -> None:
        self.entries = entries
        self.load_file = functools.partial(load_picture, scaled=scaled)
        self.load_bytes = functools.partial(picture_of, scaled=scaled)
        self.held: dict[Path, Entry] = {}

    def paths(self) -> Iterator[Path]:
        """Yield a path of its own for each entry."""
        for number, entry in enumerate(self.entries):
            key = Path(str(number))
            self.held[key] = entry
            yield key

    def load(self, key: Path, preprocessing: Preprocessing) -> Pixels:
        """Return an entry's picture; PictureError when it has none."""
        entry = self.held[key]
        if entry.error is not None:
            raise PictureError(entry.error)
        if entry.data is None:
            return self.load_file(Path(entry.name), preprocessing)
        return self.load_bytes(entry.data, entry.name, preprocessing)

    def named(self, result: Result) -> Result:
        """Return a result under its entry's name, and let go of the entry."""
        return replace(result, path=Path(self.held.pop(result.path).name))
