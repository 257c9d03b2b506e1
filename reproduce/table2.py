"""Table 2: the probabilities of several networks averaged, on the validation part.

Section 6: on ILSVRC-2012 one network errs on 40.7 % (top-1) and 18.2 % (top-5) of the validation pictures, five
averaged on 38.1 % and 16.4 %, and seven, two of them trained on more pictures, on 36.7 % and 15.4 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.calibration.pictures import PicturePart, open_parts
from alexnet.crops import CROPS
from alexnet.errors import ModelError
from alexnet.files import atomic_write
from alexnet.progress import Count
from alexnet.reproduce.page import Findings, data_digest, facts_of, import_figures
from alexnet.reproduce.subjects import ModelSubject, RunSubject, open_subject

Floats = npt.NDArray[np.float32]
Progress = Callable[[str], AbstractContextManager[Count]]
PAPER = (
    "on the validation part of ILSVRC-2012 one network errs on 40.7 % (top-1) and 18.2 % (top-5), five averaged on "
    "38.1 % and 16.4 %, seven, two of them trained on more pictures, on 36.7 % and 15.4 % (Table 2)"
)
# Networks averaged -> the paper's errors in per cent.
ERRORS = {1: (40.7, 18.2), 5: (38.1, 16.4), 7: (36.7, 15.4)}
BATCH = 16


def reproduce_table2(paths: Sequence[Path], data: Path, out: Path, progress: Progress) -> Findings:
    """Return the errors of 1, 2, ... of the given runs or models averaged, in the order given.

    The answers of each are kept under `out` by the digest of its weights, so a run that was stopped goes on with the
    next. Raises ModelError where their classes differ or one stands there twice.
    """
    subjects = [open_subject(path) for path in paths]
    for subject in subjects[1:]:
        if subject.labels != subjects[0].labels:
            raise ModelError(f"{subject.path} has other classes than {paths[0]}; average networks of the same classes")
    weights = [subject.checkpoint_sha256 for subject in subjects]
    if len(set(weights)) < len(weights):
        raise ModelError("two of the networks have the same weights, and averaging them changes nothing; leave one out")
    answers, truth, digest = [], np.empty(0, dtype=np.int64), ""
    for subject in subjects:
        part = open_parts(data, subject, subject.path).val
        truth, digest = part.labels, data_digest(data, [part.digest(place) for place in range(len(part))])
        answers.append(_kept(subject, part, digest, out, progress))
    rows = []
    for number in range(1, len(subjects) + 1):
        rows.append((number, *errors(np.mean(answers[:number], axis=0), truth)))
    alone = [errors(answer, truth) for answer in answers]
    mean = tuple(float(np.mean([pair[place] for pair in alone])) for place in (0, 1))
    last = rows[-1]
    return Findings(
        name="table2",
        title="Table 2: networks averaged",
        paper=PAPER,
        ours=f"on {len(truth):,} validation pictures of {data} one network errs on {mean[0]:.2%} and {mean[1]:.2%} on "
        f"average, {last[0]} averaged on {last[1]:.2%} and {last[2]:.2%}: top-1 changes by "
        f"{_relative(last[1], mean[0])}, in the paper by {_relative(38.1, 40.7)} with five",
        table=_table(rows, alone, mean, paths),
        values={
            "averaged": [{"networks": n, "top1": one, "top5": five} for n, one, five in rows],
            "alone": [{"network": str(path), "top1": a, "top5": b} for path, (a, b) in zip(paths, alone, strict=True)],
        },
        picture=draw(rows, mean),
        shown=f"top-1 error by the number of networks averaged, 1 to {len(rows)}, and the paper's for 1, 5 and 7",
        facts=facts_of(
            None,
            ("torch",) if any(isinstance(subject, RunSubject) for subject in subjects) else ("onnxruntime",),
            data=digest,
            **{f"weights_{place}": text for place, text in enumerate(weights, start=1)},
        ),
    )


def errors(probabilities: Floats, truth: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return top-1 and top-5 error of probabilities [N, classes], as shares."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return float((best[:, 0] != truth).mean()), float((best != truth[:, None]).all(axis=1).mean())


def _relative(after: float, before: float) -> str:
    """Return a change as a share of what it was before."""
    return f"{after / before - 1.0:+.1%}" if before else "nothing, being 0"


def _kept(subject: ModelSubject | RunSubject, part: PicturePart, digest: str, out: Path, progress: Progress) -> Floats:
    """Return the answers [N, classes] of a network, read back where they were kept before."""
    file = out / "answers" / f"{subject.checkpoint_sha256[:16]}-{subject.precision}-{digest[:16]}.npy"
    if file.is_file():
        found: Floats = np.load(file, allow_pickle=False)
        return found
    rows = []
    with progress(f"asking {subject.path}") as count:
        for first in range(0, len(part), BATCH):
            places = list(range(first, min(first + BATCH, len(part))))
            rows.append(subject.probabilities(part.read(places), subject.crops or CROPS))
            count(places[-1] + 1, len(part))
    answers = np.concatenate(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as stream:
        np.save(stream, answers)
    return answers


def _table(
    rows: Sequence[tuple[int, float, float]],
    alone: Sequence[tuple[float, float]],
    mean: tuple[float, ...],
    paths: Sequence[Path],
) -> list[tuple[str, ...]]:
    """Return the rows for the page: each network alone, their mean, and the averages beside the paper's."""
    table: list[tuple[str, ...]] = [
        ("networks", "top-1 error", "top-5 error", "the paper's top-1", "the paper's top-5")
    ]
    for path, (top1, top5) in zip(paths, alone, strict=True):
        table.append((f"{path} alone", f"{top1:.2%}", f"{top5:.2%}", "", ""))
    table.append(("one, on average", f"{mean[0]:.2%}", f"{mean[1]:.2%}", "40.7 %", "18.2 %"))
    for number, top1, top5 in rows[1:]:
        paper = ERRORS.get(number)
        theirs = tuple(f"{value} %" for value in paper) if paper else ("", "")
        table.append((f"{number} averaged", f"{top1:.2%}", f"{top5:.2%}", *theirs))
    return table


def draw(rows: Sequence[tuple[int, float, float]], mean: tuple[float, ...]) -> Any:
    """Return the figure: each error as a share of that of one network, so that ours and the paper's can be compared."""
    figure = import_figures().Figure(figsize=(6.5, 4.0), layout="constrained")
    axis = figure.subplots()
    numbers = [row[0] for row in rows]
    ours = [mean[0], *(row[1] for row in rows[1:])]
    axis.plot(numbers, [value / (mean[0] or 1.0) for value in ours], "o-", color="#1f4e8c", label="here")
    theirs = [(number, pair[0] / ERRORS[1][0]) for number, pair in ERRORS.items()]
    axis.plot(*zip(*theirs, strict=True), "s--", color="#c0392b", label="the paper (7: two trained on more)")
    axis.set_xlabel("networks averaged")
    axis.set_ylabel("top-1 error, of one network's")
    axis.set_xticks(range(1, max(7, numbers[-1]) + 1))
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
