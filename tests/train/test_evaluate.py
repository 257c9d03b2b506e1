from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet.architecture import layer_table
from alexnet.crops import ten_crops
from alexnet.recipe import Recipe
from alexnet.train.evaluate import evaluate_centre, ten_crop_probabilities
from alexnet.train.network import Network, start_weights
from tests.train.watched import AskedTogether

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (5, 72, 72, 3), dtype=np.uint8)
MEAN = RANDOM.uniform(100, 150, (72, 72, 3)).astype(np.float32)


@pytest.fixture
def network(tiny_recipe: Recipe) -> Network:
    from dataclasses import replace

    recipe = replace(tiny_recipe, network=replace(tiny_recipe.network, classes=7))
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    return network.eval()


def test_ten_crops_average_probabilities_and_not_logits(network: Network) -> None:
    with torch.no_grad():
        network.get_parameter("fc8.weight").mul_(300)
    views = ten_crops(PICTURES.astype(np.float32) - MEAN, 64)
    with torch.no_grad():
        logits = torch.stack([network(torch.from_numpy(v.transpose(0, 3, 1, 2).copy())) for v in views])
    found = ten_crop_probabilities(network, PICTURES, MEAN, batch=2)
    assert np.allclose(found, logits.softmax(2).mean(0).numpy(), atol=1e-6)
    assert not np.allclose(found, logits.mean(0).softmax(1).numpy(), atol=1e-4)


def test_errors_count_every_picture_once(network: Network) -> None:
    with torch.no_grad():
        network.get_parameter("fc8.weight").zero_()
        network.get_parameter("fc8.bias").copy_(torch.arange(7.0))  # always 6, then 5, 4, 3, 2
    errors = evaluate_centre(network, PICTURES, np.array([6, 6, 2, 1, 0]), MEAN, batch=2)
    assert errors.top1 == pytest.approx(3 / 5)
    assert errors.top5 == pytest.approx(2 / 5)


def test_the_mode_is_restored(network: Network) -> None:
    network.train()
    evaluate_centre(network, PICTURES, np.zeros(5, dtype=np.int64), MEAN)
    assert network.training


def test_validation_holds_a_batch_of_pictures_at_a_time(network: Network) -> None:
    watched = AskedTogether(PICTURES, 1)
    labels = np.array([6, 6, 2, 1, 0])
    found = evaluate_centre(network, watched, labels, MEAN, batch=2)
    assert watched.asked == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert found == evaluate_centre(network, PICTURES, labels, MEAN, batch=2)
