"""The page itself: everything that was found, arranged for the template, and the template filled in."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from alexnet import __version__
from alexnet.describe import table_values
from alexnet.export.source import Source, source_from_run
from alexnet.files import write_bytes
from alexnet.progress import Count
from alexnet.reproduce.evaluate import validation_part
from alexnet.reproduce.report.answers import Answers, answer, pictures_sha256
from alexnet.reproduce.report.artefacts import find_artefacts
from alexnet.reproduce.report.benchmark import COMMAND, load_benchmark
from alexnet.reproduce.report.cases import best_and_worst
from alexnet.reproduce.report.facts import data_facts, logged_epochs, recipe_rows, recorded_data, versions
from alexnet.reproduce.report.figures import confusion_image, curves_uri, import_figures, kernel_block, png_uri
from alexnet.run import Run

TEMPLATES = Path(__file__).parent / "templates"
# Of more classes the confusion matrix is a picture, not a table.
MATRIX = 24
# The pairs of classes that are listed as most often confused.
PAIRS = 12
Counting = Callable[[str], AbstractContextManager[Count]]


@dataclass(frozen=True)
class ReportOptions:
    """What `alexnet report` is asked for.

    `data` the run's data where they are not as recorded; `best` its weights of lowest validation error; `artefacts`
    further models and plans; `benchmark` the document of a benchmark; `batch` pictures at once.
    """

    data: Path | None = None
    best: bool = False
    artefacts: tuple[Path, ...] = ()
    benchmark: Path | None = None
    batch: int = 16


def write_report(run: Run, output: Path, options: ReportOptions, counting: Counting) -> Answers:
    """Write a run's page to `output`, atomically, and return the ten-crop answers it shows.

    `counting` makes the progress of each part that takes long. Raises InputError when the run, its data, an artefact or
    the benchmark is missing or is not what it should be, and MissingPackageError without matplotlib.
    """
    import_figures()
    source = source_from_run(run, options.best)
    data = options.data or recorded_data(run)
    benchmark = load_benchmark(options.benchmark) if options.benchmark else None
    artefacts = find_artefacts(run, source.checkpoint_sha256, list(options.artefacts))
    with counting("loading the validation pictures") as count:
        part = validation_part(data, source.labels, source.recipe.data, run.path, count)
    answers = {}
    for views, words in ((1, "asking with the centre crop"), (10, "asking with ten crops")):
        with counting(words) as count:
            answers[views] = answer(source, part, views, options.batch, count)
    ten = answers[10]
    page = _render(
        title=run.path.resolve().name,
        version=__version__,
        source=source,
        run=run,
        pictures=len(ten.truth),
        summary=_summary(source, ten),
        recipe=list(recipe_rows(source.recipe)),
        layers=table_values(source.network.architecture),
        parameters=source.network.architecture.parameters,
        curves=_curves(run),
        blocks=_kernels(source),
        errors=[_errors(answers[1], "centre crop"), _errors(ten, "ten crops")],
        mended=int((~answers[1].right & ten.right).sum()),
        broken=int((answers[1].right & ~ten.right).sum()),
        confusion=_confusion(ten, source.labels),
        cases=best_and_worst(ten, part, source.labels),
        artefacts=artefacts,
        benchmark=benchmark,
        benchmark_command=COMMAND,
        versions=versions(source, options.best),
        data=data_facts(data, run, pictures_sha256(part), len(ten.truth)),
    )
    write_bytes(output, page.encode())
    return ten


def _render(**values: Any) -> str:
    """Return the page; every value is escaped, and the policy on it lets nothing be fetched and no other script run."""
    script = (TEMPLATES / "script.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": _number, "figure": _figure}
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(style=style, script=script, script_digest=digest, **values)


def _percent(share: float, places: int = 2) -> str:
    """Return a share as a percentage."""
    return f"{share * 100:.{places}f}\N{NO-BREAK SPACE}%"


def _number(value: float, places: int = 0) -> str:
    """Return a number with its thousands apart, or a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:,.{places}f}"


def _figure(value: Any) -> str:
    """Return a small figure with two digits, or a dash where there is none."""
    return f"{value:.1e}" if isinstance(value, float) else "\N{EN DASH}" if value is None else str(value)


def _summary(source: Source, ten: Answers) -> dict[str, Any]:
    """Return the figures at the head of the page."""
    wrong = 1 - float(ten.right.mean())
    return {
        "top1": wrong,
        "spread": math.sqrt(wrong * (1 - wrong) / len(ten.truth)),
        "top5": 1 - float(ten.among_five.mean()),
        "classes": len(source.labels),
    }


def _errors(answers: Answers, name: str) -> dict[str, Any]:
    """Return the errors of one way of asking."""
    wrong, number = int((~answers.right).sum()), len(answers.truth)
    outside = int((~answers.among_five).sum())
    return {
        "name": name,
        "wrong": wrong,
        "top1": wrong / number,
        "outside": outside,
        "top5": outside / number,
        "loss": answers.loss,
    }


def _curves(run: Run) -> dict[str, Any] | None:
    """Return the curves of training and the epochs behind them, None where none were logged."""
    epochs = logged_epochs(run)
    if not epochs:
        return None
    numbers = [epoch["epoch"] for epoch in epochs]
    column = {
        name: [epoch[name] for epoch in epochs] for name in ("loss", "val_loss", "val_top1_error", "val_top5_error")
    }
    rates = [epoch["learning_rate"] for epoch in epochs]
    drops = [number for number, rate, later in zip(numbers, rates, rates[1:], strict=False) if later < rate]
    losses = {"training": column["loss"], "validation": column["val_loss"]}
    shares = {"top-1": column["val_top1_error"], "top-5": column["val_top5_error"]}
    lowest = min(epochs, key=lambda epoch: epoch["val_top1_error"])
    return {
        "epochs": epochs,
        "drops": drops,
        "lowest": lowest,
        "loss": curves_uri(numbers, losses, drops, "loss, nats"),
        "error": curves_uri(numbers, shares, drops, "validation error, %", 100.0),
    }


def _kernels(source: Source) -> list[dict[str, Any]]:
    """Return the first layer's kernels, a block a column."""
    weights = next(iter(source.numbers().weights.values()))
    columns = source.network.architecture.columns
    return [
        {
            "number": len(part),
            "side": part.shape[2],
            "image": (image := kernel_block(part)).shape,
            "uri": png_uri(image),
        }
        for part in np.split(weights, columns)
    ]


def _confusion(ten: Answers, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the confusion matrix with what is read off it: each class's errors, and the pairs most often confused."""
    counts = ten.confusion(len(labels))
    totals = counts.sum(axis=1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(place), len(labels)) for place in order]
    among = ten.among_five
    classes = []
    for place, label in enumerate(labels):
        mine, worst = ten.truth == place, int(off[place].argmax())
        number = int(totals[place])
        classes.append(
            {
                "label": label,
                "number": number,
                "wrong": int(off[place].sum()),
                "top1": off[place].sum() / number if number else 0.0,
                "top5": float((~among[mine]).mean()) if number else 0.0,
                "worst": labels[worst] if off[place, worst] else "",
                "worst_number": int(off[place, worst]),
            }
        )
    small = len(labels) <= MATRIX
    return {
        "rows": [
            {
                "label": label,
                "cells": [_cell(int(count), int(totals[row]), row == col) for col, count in enumerate(line)],
            }
            for row, (label, line) in enumerate(zip(labels, counts, strict=True))
        ]
        if small
        else [],
        "labels": labels,
        "image": "" if small else png_uri(confusion_image(counts)),
        "classes": classes,
        "pairs": [
            {
                "truth": labels[row],
                "taken": labels[col],
                "number": int(off[row, col]),
                "share": off[row, col] / totals[row],
            }
            for row, col in places
            if off[row, col]
        ],
    }


def _cell(count: int, total: int, right: bool) -> dict[str, Any]:
    """Return one cell of the matrix: its count, and its shade as a percentage of the full colour."""
    share = count / total if total else 0.0
    shade = round(math.sqrt(share) * 100) if not right else round(share * 78)
    return {"count": count, "shade": shade, "right": right, "dark": shade > 50}
