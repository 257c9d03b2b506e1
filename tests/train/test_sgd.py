from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet.train.sgd import PaperSgd

RATES = [0.1, 0.1, 0.01, 0.01, 0.01, 0.001]


def gradients() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    random = np.random.default_rng(0)
    return [random.normal(size=(3, 4)) for _ in RATES]


def walk(kind: str) -> torch.Tensor:
    """Return a weight after the schedule RATES under PaperSgd or torch.optim.SGD."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4))
    paper = PaperSgd([weight], learning_rate=0.1, momentum=0.9, weight_decay=0.0005)
    other = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=0.0005)
    for rate, gradient in zip(RATES, gradients(), strict=True):
        weight.grad = torch.from_numpy(gradient)
        if kind == "paper":
            paper.set_learning_rate(rate)
            paper.step()
        else:
            other.param_groups[0]["lr"] = rate
            other.step()
    return weight.detach()


def test_equals_the_rule_of_section_5_over_a_falling_rate() -> None:
    w = np.linspace(-1, 1, 12).reshape(3, 4)
    v = np.zeros_like(w)
    for rate, gradient in zip(RATES, gradients(), strict=True):
        v = 0.9 * v - 0.0005 * rate * w - rate * gradient
        w = w + v
    assert np.abs(walk("paper").numpy() - w).max() < 1e-12


def test_differs_from_torchs_rule_once_the_rate_changes() -> None:
    assert float((walk("paper") - walk("torch")).abs().max()) > 0.01


def test_a_weight_without_gradient_stays() -> None:
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    sgd = PaperSgd([used, unused], learning_rate=0.1, momentum=0.9, weight_decay=0.1)
    used.grad = torch.ones(2)
    sgd.step()
    assert used.tolist() == pytest.approx([0.89, 0.89])
    assert unused.tolist() == [1.0, 1.0]
