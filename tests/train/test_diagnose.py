from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from alexnet.architecture import layer_table
from alexnet.recipe import Recipe
from alexnet.train.diagnose import first_not_finite, stuck
from alexnet.train.network import Network


@pytest.fixture
def network(tiny_recipe: Recipe) -> Network:
    return Network(layer_table(replace(tiny_recipe.network, classes=3)))


def test_the_layer_whose_weights_or_output_overflow_is_named(network: Network) -> None:
    crops = torch.ones(1, 3, 64, 64)
    assert "only the loss overflows" in first_not_finite(network, crops)
    network.get_parameter("conv3.weight").data.fill_(3e38)
    assert first_not_finite(network, crops) == "the output of conv3 is not finite"
    network.get_parameter("fc7.bias").data[0] = float("nan")
    assert first_not_finite(network, crops) == "the weights fc7.bias are not finite"
    assert "pictures themselves" in first_not_finite(Network(network.architecture), crops * float("inf"))


@pytest.mark.parametrize(
    ("losses", "is_stuck"),
    [([2.303] * 3, True), ([2.303] * 2, False), ([2.5, 2.299, 2.305, 2.30], True), ([2.30, 2.30, 2.287], False)],
)
def test_three_epochs_at_chance_are_a_warning(losses: list[float], is_stuck: bool) -> None:
    warning = stuck(losses, 10)
    assert (warning is not None) == is_stuck
    if warning:
        assert f"{math.log(10):.3f}" in warning
