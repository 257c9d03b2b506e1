"""One call of `alexnet infer`: open the engines, stream the pictures, write results as they come, sum up."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from alexnet.errors import InputError, Interrupted, PictureError, printable
from alexnet.files import atomic_write
from alexnet.pictures import load_picture
from alexnet.progress import counted, report
from alexnet.runtime.backends import Backend, BackendOptions
from alexnet.runtime.classify import DEFAULT_BATCH, Features, Load, Result, classify
from alexnet.runtime.ensemble import open_engines
from alexnet.runtime.features import Add, features_file
from alexnet.runtime.inputs import LIST, picture_paths
from alexnet.runtime.output import WIDTH_PATHS, Csv, Form, Json, JsonLines, Made, Table, Write
from alexnet.runtime.resume import as_written, left_over, resumed
from alexnet.runtime.verify import verify_on_first_use


@dataclass(frozen=True)
class InferOptions:
    """What `alexnet infer` is asked for.

    `top` classes of each picture; `batch` pictures at once; `crops` what the engines must average, ten or one;
    `form` of the results; `output` their file, standard output when None; `resume` goes on with that file; `features`
    a file for the last hidden layer, the mean of the crops' or the centre one's (`features_of`); `scaled` decodes large
    JPEGs at a fraction of their size, `gpu_decoding` JPEGs on the GPU; `strict` ends at the first picture that cannot
    be classified.
    """

    top: int = 5
    batch: int = DEFAULT_BATCH
    crops: str | None = None
    form: Literal["table", "csv", "json", "jsonl"] = "table"
    output: Path | None = None
    resume: bool = False
    features: Path | None = None
    features_of: Features = "mean"
    scaled: bool = False
    gpu_decoding: bool = False
    strict: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse to resume what cannot be, and two ways of decoding (InputError)."""
        if self.scaled and self.gpu_decoding:
            raise InputError("--scaled-decoding and --gpu-decoding are two ways to decode a JPEG; give one of them")
        if self.resume and (self.output is None or self.form not in ("csv", "jsonl") or self.features):
            raise InputError(
                "--resume goes on with a file of --csv or --jsonl: give -o FILE with one, and no --features"
            )


def infer_paths(engines: list[Path], arguments: list[str], options: InferOptions, opened: BackendOptions) -> None:
    """Classify the pictures that `arguments` name, write them in the form asked for, and report on standard error.

    Raises PictureError at the first bad picture when `strict`, or at the end when none could be classified, and
    Interrupted, saying how far it came, on Ctrl-C.
    """
    paths = picture_paths(arguments, sys.stdin.buffer)
    say = (lambda text: None) if options.quiet else report
    load = _loader(options, opened.gpu)
    for engine in engines:
        verify_on_first_use(engine, opened, say)
    backend = open_engines(
        engines, opened, options.crops, say if opened.name or opened.precision or opened.trust else None
    )
    made = Made(tuple(map(str, engines)), backend)
    try:
        if options.resume:
            assert options.output is not None
            rows = min(options.top, len(backend.metadata.labels))
            done = resumed(options.output, options.form, rows, JsonLines(report, made).by)
            if done:
                say(f"{options.output}: {done.total()} pictures are done already")
            paths = left_over(paths, done)
        # A list may come as slowly as somebody types it: the table does not wait for it.
        ahead = WIDTH_PATHS if options.form == "table" and LIST not in arguments else 0
        paths, widths = _widths(paths, backend, ahead)
        with _written(options) as write, _featured(options, made) as add:
            run = _Run(options, _form(options, write, made, widths), add, say, load)
            run.classify(backend, paths, opened.threads or os.cpu_count() or 1)
    finally:
        backend.close()
    run.sum_up(made)


def _loader(options: InferOptions, gpu: int) -> Load:
    """Return what loads a picture: Pillow, at full size or scaled, or the GPU's decoder."""
    if not options.gpu_decoding:
        return functools.partial(load_picture, scaled=options.scaled)
    from alexnet.runtime.gpu_decode import GpuDecoder

    return GpuDecoder(gpu, report).load


class _Run:
    """One pass over the pictures: counts what became of them, and reports as it goes."""

    def __init__(self, options: InferOptions, form: Form, add: Add | None, say: Write, load: Load) -> None:
        self.options, self.form, self.add, self.say, self.load = options, form, add, say, load
        self.done = self.bad = 0
        self.began = time.perf_counter()

    def classify(self, backend: Backend, paths: Iterator[Path], workers: int) -> None:
        """Classify every path and write its result."""
        options = self.options
        # On a terminal that shows the results as they come, a bar among them would only be in the way.
        shown = options.output is None and options.form != "json" and sys.stdout.isatty()
        results = classify(
            backend,
            paths,
            top=options.top,
            batch=options.batch,
            workers=workers,
            features=options.features_of if options.features else None,
            load=self.load,
            say=self.say,
        )
        try:
            # A folder without pictures, or a model that does not run, is said before anything is written.
            first = list(itertools.islice(results, 1))
            if not options.resume or options.output is None or options.output.stat().st_size == 0:
                self.form.begin()
            with counted("classifying", options.quiet or shown) as count:
                for result in itertools.chain(first, results):
                    self._take(result)
                    count(self.done, None)
        except KeyboardInterrupt:
            again = "the same command goes on" if options.resume else "run the same command again for all"
            raise Interrupted(f"stopped after {self.done} pictures; {again}") from None
        self.form.end()

    def _take(self, result: Result) -> None:
        """Report, count and write one result."""
        if result.error is not None:
            if self.options.strict:
                raise PictureError(f"{result.error} (--strict: {self.done} pictures were done before it)")
            self.bad += 1
            click.echo(f"skipped: {printable(result.error)}", err=True)
        self.form.add(result)
        if self.add and result.features is not None:
            self.add(result.path, result.features)
        self.done += 1

    def sum_up(self, made: Made) -> None:
        """Say what was done and by what; PictureError when no picture could be classified."""
        seconds = time.perf_counter() - self.began
        if not self.options.quiet:
            click.echo(
                f"{self.done - self.bad} of {self.done} pictures classified, {self.bad} skipped, {seconds:.1f} s, "
                f"{self.done / seconds:.1f} pictures/s; {made.words()}",
                err=True,
            )
        if self.bad and self.bad == self.done:
            raise PictureError(f"none of the {self.done} pictures could be classified; the reasons are above")


def _form(options: InferOptions, write: Write, made: Made, widths: tuple[int, int]) -> Form:
    """Return the form of results that was asked for."""
    match options.form:
        case "csv":
            return Csv(write)
        case "jsonl":
            return JsonLines(write, made)
        case "json":
            return Json(write, made)
        case _:
            return Table(write, widths)


def _widths(paths: Iterator[Path], backend: Backend, ahead: int) -> tuple[Iterator[Path], tuple[int, int]]:
    """Return the paths again and the widths, in letters, of the longest among the first `ahead` and of the labels."""
    first = list(itertools.islice(paths, ahead))
    path_width = max((len(printable(str(path))) for path in first), default=0)
    return itertools.chain(first, paths), (path_width, max(len(printable(label)) for label in backend.metadata.labels))


@contextlib.contextmanager
def _written(options: InferOptions) -> Iterator[Write]:
    """Yield what writes the results: to standard output, or to a file.

    CSV and JSON lines grow in their file as they come, so that a killed run leaves what it had; the other forms appear
    when they are whole.
    """
    if options.output is None:
        yield _to_standard_output
    elif options.form in ("csv", "jsonl"):
        try:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            file = options.output.open("ab" if options.resume else "wb", buffering=0)
        except OSError as error:
            raise InputError(f"cannot write {options.output}: {error.strerror or error}; give another file") from None
        with file:
            yield lambda text: _whole(file.write, as_written(text).encode())
    else:
        with atomic_write(options.output) as whole:
            yield lambda text: _whole(whole.write, as_written(text).encode())


def _whole(write: object, data: bytes) -> None:
    """Write all bytes, however many the file takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[write(rest) :]  # type: ignore[operator]


@contextlib.contextmanager
def _featured(options: InferOptions, made: Made) -> Iterator[Add | None]:
    """Yield what writes features, None where none are asked for."""
    if options.features is None:
        yield None
        return
    with features_file(options.features, {**made.values(), "features": options.features_of}) as add:
        yield add


def _to_standard_output(text: str) -> None:
    """Write to standard output at once; what its encoding lacks, undecodable file names too, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)
