"""One call of `alexnet infer`: open the model, find the pictures, classify, write results as they come, sum up."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from alexnet.errors import Interrupted, PictureError, printable
from alexnet.pictures import find_pictures
from alexnet.progress import counted
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.classify import Result, classify
from alexnet.runtime.output import csv_header, csv_lines, json_document, table_line


def infer_paths(
    engine: Path,
    paths: list[Path],
    *,
    top: int,
    batch: int,
    form: str,
    strict: bool,
    backend_options: BackendOptions,
    quiet: bool,
) -> None:
    """Classify the pictures under `paths` and print them as `form`: table, csv or json.

    Raises PictureError at the first bad picture when `strict`, or at the end when none could be classified, and
    Interrupted, saying how far it came, on Ctrl-C.
    """
    files = list(find_pictures(paths))
    backend = open_backend(engine, backend_options)
    widths = (
        max(len(printable(str(file))) for file in files),
        max(len(printable(label)) for label in backend.metadata.labels),
    )
    # On a terminal that shows the results as they come, a bar among them would only be in the way.
    silent = quiet or (form != "json" and sys.stdout.isatty())
    kept: list[Result] = []
    done = bad = 0
    began = time.perf_counter()
    if form == "csv":
        _write(csv_header())
    try:
        with counted("classifying", silent) as count:
            for result in classify(
                backend, files, top=top, batch=batch, workers=backend_options.threads or os.cpu_count() or 1
            ):
                if result.error is not None:
                    if strict:
                        raise PictureError(f"{result.error} (--strict: {done} of {len(files)} pictures done)")
                    bad += 1
                    click.echo(f"skipped: {printable(result.error)}", err=True)
                done += 1
                _print(result, form, widths, kept)
                count(done, len(files))
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped after {done} of {len(files)} pictures; run the same command again for all"
        ) from None
    seconds = time.perf_counter() - began
    if form == "json":
        click.echo(json_document(str(engine), backend, kept))
    if not quiet:
        click.echo(
            f"{done - bad} of {done} pictures classified, {bad} skipped, {seconds:.1f} s, "
            f"{done / seconds:.1f} pictures/s; {backend.name} on {backend.device}, {backend.precision}, "
            f"{backend.metadata.crops} crops each",
            err=True,
        )
    backend.close()
    if bad == done:
        raise PictureError(f"none of the {done} pictures could be classified; the reasons are above")


def _print(result: Result, form: str, widths: tuple[int, int], kept: list[Result]) -> None:
    """Print one result, or keep it for the JSON document."""
    if form == "json":
        kept.append(result)
    elif form == "csv":
        _write(csv_lines(result))
    elif result.error is None:
        _write(table_line(result, *widths) + "\n")


def _write(text: str) -> None:
    """Write to standard output at once; what its encoding lacks, undecodable file names too, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)
