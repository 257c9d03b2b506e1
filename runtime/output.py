"""Results as a person or a program reads them: a table, CSV, JSON lines, or one JSON document."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from alexnet.errors import printable
from alexnet.runtime.backends import Backend
from alexnet.runtime.classify import Answer, Result

Write = Callable[[str], None]

CSV_HEADER = ("path", "rank", "label", "probability", "error")
# Paths that set the width of the table's first column: those after them are not known yet.
WIDTH_PATHS = 1000
# A JSON document is closed before it is printed; beyond this many characters it waits in a temporary file.
IN_MEMORY = 1 << 24


@dataclass(frozen=True)
class Made:
    """What made the results: the engines by name, and the backend over them."""

    engines: tuple[str, ...]
    backend: Backend

    def values(self) -> dict[str, Any]:
        """Return what every form of result says of it."""
        backend, members = self.backend, getattr(self.backend, "members", [self.backend])
        each = [
            {
                "model": engine,
                "backend": member.name,
                "device": member.device,
                "precision": member.precision,
                "crops": member.metadata.crops,
                "checkpoint_sha256": member.metadata.checkpoint_sha256,
            }
            for engine, member in zip(self.engines, members, strict=True)
        ]
        if len(each) == 1:
            return each[0]
        return {"backend": backend.name, "device": backend.device, "precision": backend.precision, "engines": each}

    def words(self) -> str:
        """Return it as a few words for a summary."""
        members = getattr(self.backend, "members", [self.backend])
        crops = " and ".join(dict.fromkeys(str(member.metadata.crops) for member in members))
        mean = f", the mean of {len(members)} engines" if len(members) > 1 else ""
        return f"{self.backend.name} on {self.backend.device}, {self.backend.precision}, {crops} crops each{mean}"


class Table:
    """A line a picture: its path and its classes with percentages, best first, in columns.

    `widths` are those of the longest path and label, in letters.
    """

    def __init__(self, write: Write, widths: tuple[int, int]) -> None:
        self.write, self.widths = write, widths

    def begin(self) -> None:
        """Write nothing: the table has no head."""

    def add(self, result: Result) -> None:
        """Write a picture's line; one without answers is reported on standard error only."""
        if result.error is not None:
            return
        path_width, label_width = self.widths
        answers = "  ".join(
            f"{printable(answer.label):{label_width}} {answer.probability:7.2%}" for answer in result.answers
        )
        self.write(f"{printable(str(result.path)):{path_width}}  {answers}\n")

    def end(self) -> None:
        """Write nothing: the table has no foot."""


class Csv:
    """A line a class; a picture without answers has one line with its error."""

    def __init__(self, write: Write) -> None:
        self.write = write

    def begin(self) -> None:
        """Write the head."""
        self.write(",".join(CSV_HEADER) + "\n")

    def add(self, result: Result) -> None:
        """Write all lines of a picture at once."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        path = str(result.path)
        if result.error is not None:
            writer.writerow((path, "", "", "", result.error))
        for rank, answer in enumerate(result.answers, start=1):
            writer.writerow((path, rank, answer.label, f"{answer.probability:.6f}", ""))
        self.write(text.getvalue())

    def end(self) -> None:
        """Write nothing: CSV has no foot."""


class JsonLines:
    """A JSON object a picture and line, each with what made it."""

    def __init__(self, write: Write, made: Made) -> None:
        self.write = write
        values = made.values()
        self.by = {key: values[key] for key in ("backend", "device", "precision")}

    def begin(self) -> None:
        """Write nothing: each line stands by itself."""

    def add(self, result: Result) -> None:
        """Write a picture's line."""
        self.write(json.dumps({**_picture(result), **self.by}) + "\n")

    def end(self) -> None:
        """Write nothing: each line stands by itself."""


class Json:
    """One JSON document of all results, with what made them; written when it is complete."""

    def __init__(self, write: Write, made: Made) -> None:
        self.write, self.head = write, made.values()
        self.text: IO[str] = tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="ascii")  # noqa: SIM115
        self.first = True

    def begin(self) -> None:
        """Write what made the results."""
        self.text.write(json.dumps(self.head, indent=2).removesuffix("\n}") + ',\n  "pictures": [')

    def add(self, result: Result) -> None:
        """Add a picture."""
        text = json.dumps(_picture(result), indent=2).replace("\n", "\n    ")
        self.text.write(("" if self.first else ",") + "\n    " + text)
        self.first = False

    def end(self) -> None:
        """Close the document and write it."""
        self.text.write(("" if self.first else "\n  ") + "]\n}\n")
        self.text.seek(0)
        shutil.copyfileobj(self.text, _Writer(self.write), 1 << 20)
        self.text.close()


Form = Table | Csv | JsonLines | Json


class _Writer:
    """A function as the file that copying wants."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)


def _picture(result: Result) -> dict[str, Any]:
    """Return a result as JSON values."""
    if result.error is not None:
        return {"path": str(result.path), "error": result.error}
    return {"path": str(result.path), "classes": answer_values(result.answers)}


def answer_values(answers: tuple[Answer, ...]) -> list[dict[str, Any]]:
    """Return a picture's classes as JSON values."""
    return [{"label": answer.label, "probability": answer.probability} for answer in answers]
