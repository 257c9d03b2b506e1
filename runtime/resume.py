"""Going on with an output file that an earlier, killed run left: what is whole is kept, the torn end is cut off."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from alexnet.errors import InputError
from alexnet.runtime.output import CSV_HEADER


def resumed(path: Path, form: str, rows: int, made: dict[str, object]) -> Counter[str]:
    """Cut off the torn end of an output file and return the paths whose results stand in it, with their numbers.

    `form` is csv or jsonl, `rows` the classes of each picture, and `made` what makes the results now. Raises InputError
    when the file was written in another form, with another --top, or by something else.
    """
    if not path.exists():
        return Counter()
    whole, done = 0, Counter[str]()
    records = _csv_records(path, rows) if form == "csv" else _json_records(path, rows, made)
    for name, whole in records:  # noqa: B007
        if name is not None:
            done[name] += 1
    if whole < path.stat().st_size:
        os.truncate(path, whole)
    return done


def left_over(paths: Iterable[Path], done: Counter[str]) -> Iterator[Path]:
    """Yield the paths that are not done, each name as often as it was given and is not done."""
    for path in paths:
        name = as_written(str(path))
        if done[name] > 0:
            done[name] -= 1
        else:
            yield path


def as_written(text: str) -> str:
    """Return a text as a UTF-8 file holds it: what UTF-8 lacks, undecodable file names too, is escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json_records(path: Path, rows: int, made: dict[str, object]) -> Iterator[tuple[str, int]]:
    """Yield the path of each whole line and the place where the line ends."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                values = json.loads(line)
                name, classes = values["path"], len(values.get("classes", ())) or rows
            except (ValueError, KeyError, TypeError):
                raise _other(path, f"line {number} is no result") from None
            by = {key: values.get(key) for key in made}
            if classes != rows or by != made:
                raise _other(path, f"line {number} has {classes} classes by {_words(by)}, now {rows} by {_words(made)}")
            yield as_written(name), end


def _words(by: dict[str, object]) -> str:
    """Return what made a result as a few words."""
    return " ".join(str(value) for value in by.values())


def _csv_records(path: Path, rows: int) -> Iterator[tuple[str | None, int]]:
    """Yield the path of each whole picture and the place where its last line ends, and None for the head."""
    records = _csv_lines(path)
    head = next(records, None)
    if head is None:
        return
    if tuple(head[0]) != CSV_HEADER:
        raise _other(path, f"it begins with {','.join(head[0])!r}")
    yield None, head[1]
    short = None
    for name, rest in groupby(records, key=lambda record: record[0][0] if record[0] else ""):
        if short is not None:
            raise _other(path, f"{short} has not {rows} classes, which are asked for now")
        group = list(rest)
        while group:
            wanted = 1 if group[0][0][1:2] == [""] else rows
            picture, group = group[:wanted], group[wanted:]
            if not _is_whole([record for record, _ in picture], rows):
                short, group = name, []
            else:
                yield name, picture[-1][1]


def _csv_lines(path: Path) -> Iterator[tuple[list[str], int]]:
    """Yield each record and the place where it ends, all but a last one that is torn."""
    end = 0

    def lines(file: Iterable[bytes]) -> Iterator[str]:
        nonlocal end
        for line in file:
            end += len(line)
            yield line.decode("utf-8", "replace")

    held: tuple[list[str], int] | None = None
    with path.open("rb") as file:
        for record in csv.reader(lines(file)):
            if held is not None:
                yield held
            held = (record, end)
    # A record torn within quotes may well end with a newline, but it has fewer columns.
    if held is not None and len(held[0]) == len(CSV_HEADER) and _last_byte(path) == b"\n":
        yield held


def _is_whole(records: list[list[str]], rows: int) -> bool:
    """Return whether records are all of one picture: one with an error, or the classes ranked from 1 to `rows`."""
    if any(len(record) != len(CSV_HEADER) for record in records):
        return False
    return [record[1] for record in records] in ([""], [str(rank) for rank in range(1, rows + 1)])


def _last_byte(path: Path) -> bytes:
    """Return the last byte of a file that is not empty."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _other(path: Path, reason: str) -> InputError:
    """Return the error for a file that this run cannot go on with."""
    return InputError(f"{path} cannot be gone on with: {reason}; give another file with -o, or leave --resume out")
