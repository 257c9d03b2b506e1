from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet.recipe import SgdRecipe
from alexnet.train.sgd import PaperSgd, parameter_groups

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


def test_the_2012_sources_biases_learn_twice_as_fast_and_do_not_decay() -> None:
    weight, bias = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    recipe = SgdRecipe(weight_decay=0.1, bias_rate=2.0, decay_biases=False)
    groups = parameter_groups([("conv1.weight", weight), ("conv1.bias", bias)], recipe)
    sgd = PaperSgd(groups, learning_rate=0.1, momentum=0.9, weight_decay=0.1)
    sgd.set_learning_rate(0.1)
    weight.grad = bias.grad = torch.ones(2)
    sgd.step()
    assert weight.tolist() == pytest.approx([1 - 0.1 - 0.1 * 0.1] * 2)
    assert bias.tolist() == pytest.approx([1 - 0.2] * 2)


def test_the_text_treats_biases_as_weights() -> None:
    groups = parameter_groups([("fc8.weight", torch.ones(2)), ("fc8.bias", torch.ones(2))], SgdRecipe())
    assert [(group["rate"], group["weight_decay"]) for group in groups] == [(1.0, 0.0005)] * 2


def test_a_layer_can_be_slowed_and_frozen() -> None:
    first, other = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    groups = parameter_groups([("conv1.weight", first), ("conv2.weight", other)], SgdRecipe(weight_decay=0.0))
    sgd = PaperSgd(groups, learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    for factor, expected in ((0.1, 0.99), (0.0, 0.99)):
        sgd.set_learning_rate(0.1, {"conv1": factor})
        first.grad = other.grad = torch.ones(1)
        sgd.step()
        assert first.item() == pytest.approx(expected)
    assert other.item() == pytest.approx(0.8)
