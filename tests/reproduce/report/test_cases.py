from __future__ import annotations

import numpy as np

from alexnet.reproduce.report.answers import Answers
from alexnet.reproduce.report.cases import best_and_worst
from alexnet.train.data.folder import Part

LABELS = ("ant", "bee", "cow")


def answers() -> tuple[Answers, Part]:
    """Six pictures: two ants and a bee that are right, a cow and two bees that are not."""
    probabilities = np.array(
        [
            [0.9, 0.05, 0.05],
            [0.95, 0.04, 0.01],
            [0.3, 0.6, 0.1],
            [0.7, 0.2, 0.1],
            [0.5, 0.45, 0.05],
            [0.98, 0.01, 0.01],
        ],
        dtype=np.float32,
    )
    truth = np.array([0, 0, 1, 2, 1, 1])
    order = np.argsort(-probabilities, axis=1, kind="stable")
    found = Answers(10, truth, order, np.take_along_axis(probabilities, order, 1), probabilities[np.arange(6), truth])
    pictures = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    return found, Part(pictures, truth, [f"{place}.png" for place in range(6)])


def test_the_surest_of_each_class_and_the_most_wrong() -> None:
    found = best_and_worst(*answers(), LABELS)
    assert [case["name"] for case in found["best"]] == ["1.png", "2.png"]
    assert [case["name"] for case in found["worst"]] == ["5.png", "3.png", "4.png"]
    assert [case["name"] for case in best_and_worst(*answers(), LABELS, 1)["worst"]] == ["5.png"]
    worst = found["worst"][1]
    assert (worst["truth"], worst["taken"]) == ("cow", "ant")
    assert [bar["label"] for bar in worst["bars"] if bar["true"]] == ["cow"]


def test_what_is_counted_follows_from_the_answers() -> None:
    found, _ = answers()
    assert found.right.tolist() == [True, True, True, False, False, False]
    assert found.confusion(3).tolist() == [[2, 0, 0], [2, 1, 0], [1, 0, 0]]
    assert found.among_five.all()
    assert abs(found.loss + np.log([0.9, 0.95, 0.6, 0.1, 0.45, 0.01]).mean()) < 1e-6
