"""Results as a person or a program reads them: a table, CSV, or one JSON document."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from alexnet.errors import printable
from alexnet.runtime.backends import Backend
from alexnet.runtime.classify import Result


def table_line(result: Result, path_width: int, label_width: int) -> str:
    """Return one picture as one line: its path and its classes with percentages, best first, in columns.

    The widths are those of the longest path and label, in letters.
    """
    answers = "  ".join(
        f"{printable(answer.label):{label_width}} {answer.probability:7.2%}" for answer in result.answers
    )
    return f"{printable(str(result.path)):{path_width}}  {answers}"


CSV_HEADER = ("path", "rank", "label", "probability", "error")


def csv_lines(result: Result) -> str:
    """Return one picture as CSV, a line a class; a picture without answers has one line with its error."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    path = str(result.path)
    if result.error is not None:
        writer.writerow((path, "", "", "", result.error))
    for rank, answer in enumerate(result.answers, start=1):
        writer.writerow((path, rank, answer.label, f"{answer.probability:.6f}", ""))
    return text.getvalue()


def csv_header() -> str:
    """Return the first line of the CSV."""
    return ",".join(CSV_HEADER) + "\n"


def json_document(model: str, backend: Backend, results: list[Result]) -> str:
    """Return all results as one JSON document, with what made them."""
    pictures: list[dict[str, Any]] = [
        {"path": str(result.path), "error": result.error}
        if result.error is not None
        else {
            "path": str(result.path),
            "classes": [{"label": answer.label, "probability": answer.probability} for answer in result.answers],
        }
        for result in results
    ]
    document = {
        "model": model,
        "backend": backend.name,
        "device": backend.device,
        "precision": backend.precision,
        "crops": backend.metadata.crops,
        "checkpoint_sha256": backend.metadata.checkpoint_sha256,
        "pictures": pictures,
    }
    return json.dumps(document, indent=2)
