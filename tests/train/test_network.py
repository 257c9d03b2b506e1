from __future__ import annotations

import math

import pytest
import torch

from alexnet.architecture import layer_table
from alexnet.recipe import NetworkRecipe, Recipe
from alexnet.recipe_file import load_recipe
from alexnet.train.network import Network, PaperDropout, numpy_weights, start_weights


def test_full_width_has_the_papers_parameters_by_name() -> None:
    with torch.device("meta"):
        network = Network(layer_table(NetworkRecipe()))
    assert sum(value.numel() for value in network.parameters()) == 60_965_224
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert shapes["conv2.weight"] == (256, 48, 5, 5)
    assert shapes["conv3.weight"] == (384, 256, 3, 3)
    assert shapes["fc6.weight"] == (4096, 9216)
    assert shapes["fc8.bias"] == (1000,)


def test_uneven_padding_is_after() -> None:
    network = Network(layer_table(NetworkRecipe(width=1 / 48, crop=64, dropout=0.0)))
    # 64 = 11 + 13 * 4 + 1: the last of the 15 positions hangs over by 3 on the bottom and right only.
    seen: list[torch.Tensor] = []
    network.get_submodule("conv1").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    crop = torch.ones(1, 3, 64, 64)
    network(crop)
    assert seen[0].shape[-2:] == (67, 67)
    assert float(seen[0][0, 0, 0, 0]) == 1.0
    assert float(seen[0][0, 0, 64:].abs().sum() + seen[0][0, 0, :, 64:].abs().sum()) == 0.0


def test_columns_cross_only_into_conv3_and_the_full_layers() -> None:
    network = Network(layer_table(NetworkRecipe(width=1 / 16, crop=64, classes=5))).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    kept: dict[str, torch.Tensor] = {}
    for name in ("conv2", "conv3"):
        network.get_submodule(name).register_forward_hook(lambda *a, name=name: kept.__setitem__(name, a[2].clone()))
    crop = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network(crop)
    before = dict(kept)
    with torch.no_grad():
        network.get_parameter("conv1.weight")[3:] *= 2  # the second column's kernels
    network(crop)
    half = kept["conv2"].shape[1] // 2
    assert torch.equal(before["conv2"][:, :half], kept["conv2"][:, :half])
    assert not torch.equal(before["conv2"][:, half:], kept["conv2"][:, half:])
    third = kept["conv3"].shape[1] // 2
    assert not torch.equal(before["conv3"][:, :third], kept["conv3"][:, :third])


def test_dropout_is_the_papers_and_not_inverted() -> None:
    layer = PaperDropout(0.5)
    x = torch.ones(10_000)
    torch.manual_seed(0)
    trained = layer.train()(x)
    assert set(trained.tolist()) == {0.0, 1.0}
    assert abs(float(trained.mean()) - 0.5) < 0.03
    assert set(layer.eval()(x).tolist()) == {0.5}


def test_start_has_the_recipes_spread_and_biases() -> None:
    recipe = load_recipe(
        "imagenet", ["network.width=0.25", "network.classes=10", "data.picture=128", "network.crop=112"]
    )
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    weights = numpy_weights(network)
    assert float(weights["fc6.weight"].std()) == pytest.approx(0.01 / math.sqrt(0.25), rel=0.02)
    biases = [float(weights[f"{name}.bias"].mean()) for name, _ in network.stages]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]


def test_start_is_fixed_by_the_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        recipe = Recipe(seed=seed, network=NetworkRecipe(width=1 / 16, crop=64, classes=5))
        network = Network(layer_table(recipe.network))
        start_weights(network, recipe)
        return network.get_parameter("conv1.weight").detach()

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_the_2012_order_normalises_and_pools_before_relu() -> None:
    steps = (
        ("lrn", "pool", "relu"),
        ("relu", "lrn", "map_norm", "pool"),
        ("relu",),
        ("relu",),
        ("relu", "pool"),
    )
    network = Network(layer_table(NetworkRecipe(width=1 / 16, crop=64, classes=5, steps=steps)))  # type: ignore[arg-type]
    assert network.stages[0][1] == ["conv1_1_responsenorm", "conv1_2_pool", "conv1_3_relu"]
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
