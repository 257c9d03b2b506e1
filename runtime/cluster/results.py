"""The folder of results: a file a part, each whole or absent, and the folder in its place when all of them are there.

Until then it is called NAME.part. A part's file has one name whoever writes it, so that work that is done twice
appears once, and a run that goes on skips the parts that have one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from alexnet.errors import InputError
from alexnet.files import atomic_write, fsync_folder, read_json, write_json
from alexnet.runtime.classify import Result
from alexnet.runtime.output import JsonLines, Made
from alexnet.runtime.resume import as_written

RUN, SUMMARY = "run.json", "summary.json"


@dataclass
class Tally:
    """Pictures that have a row, and those whose row is an error."""

    done: int = 0
    bad: int = 0

    def add(self, done: int, bad: int) -> None:
        """Add the counts of a part."""
        self.done += done
        self.bad += bad


class Folder:
    """The results at `path`, in one form, Parquet or JSON lines, while they are made and when they are whole."""

    def __init__(self, path: Path, form: str) -> None:
        self.path, self.form = path, form
        self.unfinished = path.with_name(f"{path.name}.part")

    def begin(self, run: dict[str, Any], resume: bool) -> bool:
        """Prepare the folder for a run, described by JSON values, and return whether anything is left to do.

        Raises InputError when results are there already, or those of a run that did not end and are not asked to be
        gone on with, or are of another run.
        """
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            if not resume:
                raise InputError(f"{self.path} exists already; give another folder with -o, or remove it first")
            self._check_same(self.path, run)
            return False
        if self.unfinished.exists():
            if not resume:
                raise InputError(
                    f"{self.unfinished} is left of a run that did not end; go on with it by --resume, or remove it"
                )
            self._check_same(self.unfinished, run)
            return True
        try:
            self.unfinished.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot write {self.unfinished}: {error.strerror or error}; give another -o") from None
        write_json(self.unfinished / RUN, run)
        return True

    def _check_same(self, folder: Path, run: dict[str, Any]) -> None:
        """Raise InputError unless a folder is of the same run: pictures, engines and what was asked for."""
        found = read_json(folder / RUN)
        found = found if isinstance(found, dict) else {}
        if different := [key for key in run if found.get(key) != run[key]]:
            raise InputError(
                f"{folder} cannot be gone on with: other {' and '.join(different)} than now; give another -o"
            )

    def file(self, number: int) -> Path:
        """Return where the results of a part stand until the run ends."""
        return self.unfinished / f"part-{number:06d}.{self.form}"

    def attempts(self, number: int) -> Path:
        """Return the file that has a byte for each time that a part was begun."""
        return self.unfinished / f".part-{number:06d}.begun"

    def count(self, number: int) -> tuple[int, int] | None:
        """Return the pictures and the bad ones in a part's file, None when there is none."""
        path = self.file(number)
        if not path.is_file():
            return None
        if self.form == "jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
            return len(rows), sum("error" in row for row in rows)
        import pyarrow.parquet as pq

        errors = pq.read_table(path, columns=["error"]).column("error")
        return len(errors), len(errors) - errors.null_count

    def write(self, number: int, results: Iterable[Result], made: Made) -> tuple[int, int]:
        """Write a part's results, atomically, and return the pictures and the bad ones."""
        tally = Tally()
        with atomic_write(self.file(number)) as file:
            if self.form == "jsonl":
                lines = JsonLines(lambda text: _write_text(file, text), made)
                for result in results:
                    lines.add(result)
                    tally.add(1, result.error is not None)
            else:
                _write_parquet(file, results, made, tally)
        return tally.done, tally.bad

    def drop(self) -> None:
        """Remove an unfinished folder, if there is one, in which nothing is worth keeping."""
        for left in (*self.unfinished.glob("part-*"), *self.unfinished.glob(".part-*"), self.unfinished / RUN):
            left.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.unfinished.rmdir()

    def finish(self, summary: dict[str, Any]) -> None:
        """Put the folder in its place, with a summary and without what only making it needed."""
        write_json(self.unfinished / SUMMARY, summary)
        for left in self.unfinished.glob(".*"):
            left.unlink()
        fsync_folder(self.unfinished)
        try:
            self.unfinished.replace(self.path)
        except OSError as error:
            raise InputError(
                f"{self.unfinished} is complete, but cannot become {self.path}: {error.strerror or error}; rename it"
            ) from None
        fsync_folder(self.path.parent)


def _write_text(file: IO[bytes], text: str) -> None:
    """Write a line of JSON, which is ASCII."""
    file.write(text.encode())


def _write_parquet(file: IO[bytes], results: Iterable[Result], made: Made, tally: Tally) -> None:
    """Write results as rows of path, classes (label and probability, best first) and error, as they come."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answer = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    schema = pa.schema(
        [("path", pa.string()), ("classes", pa.list_(answer)), ("error", pa.string())],
        metadata={"alexnet": json.dumps(made.values())},
    )
    with pq.ParquetWriter(file, schema) as writer:
        rows = []
        for result in results:
            answers = [{"label": found.label, "probability": found.probability} for found in result.answers]
            error = None if result.error is None else as_written(result.error)
            rows.append({"path": as_written(str(result.path)), "classes": answers, "error": error})
            tally.add(1, error is not None)
        writer.write_table(pa.Table.from_pylist(rows, schema))
