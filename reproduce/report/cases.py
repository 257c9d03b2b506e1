"""The pictures that a network knows best, and those that it is most wrong about, each with its five bars (Fig. 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.reproduce.report.answers import Answers
from alexnet.reproduce.report.figures import Pixels, jpeg_uri
from alexnet.train.data.folder import Part

NUMBER = 12


def best_and_worst(answers: Answers, part: Part, labels: tuple[str, ...], number: int = NUMBER) -> dict[str, Any]:
    """Return up to `number` pictures that are right most surely, one of a class, and as many of the most wrong ones.

    Most wrong are those whose true class has the lowest probability. Equal ones stay in the order of the data.
    """
    right = np.flatnonzero(answers.right)
    wrong = np.flatnonzero(~answers.right)
    sure = right[np.argsort(-answers.of_truth[right], kind="stable")]
    _, first = np.unique(answers.truth[sure], return_index=True)
    best = sure[np.sort(first)][:number]
    worst = wrong[np.argsort(answers.of_truth[wrong], kind="stable")][:number]
    return {name: _cases(answers, part, labels, places) for name, places in (("best", best), ("worst", worst))}


def _cases(answers: Answers, part: Part, labels: tuple[str, ...], places: npt.NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return some pictures with their answers."""
    pictures: list[Pixels] = list(part.pictures[places]) if len(places) else []
    cases = []
    for place, picture in zip(places.tolist(), pictures, strict=True):
        truth = int(answers.truth[place])
        bars = [
            {"label": labels[found], "probability": float(probability), "true": found == truth}
            for found, probability in zip(answers.best[place].tolist(), answers.probability[place], strict=True)
        ]
        cases.append(
            {
                "name": part.names[place],
                "truth": labels[truth],
                "taken": bars[0]["label"],
                "of_truth": float(answers.of_truth[place]),
                "bars": bars,
                "uri": jpeg_uri(picture),
                "side": picture.shape[0],
            }
        )
    return cases
