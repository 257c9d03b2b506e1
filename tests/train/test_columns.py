"""Split over real processes, the network is the merged one: weights after steps, bytes that cross, states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from alexnet.architecture import Architecture, layer_table
from alexnet.recipe import NetworkRecipe, Precision, Recipe
from alexnet.train.columns import SplitNetwork, merge_states, split_state
from alexnet.train.mesh import join_world, leave_world
from alexnet.train.network import Network, start_weights
from alexnet.train.sgd import PaperSgd
from alexnet.train.traffic import expected_traffic, returned_traffic, shares
from tests.train.ranks import run_ranks

SMALL = NetworkRecipe(width=1 / 16, crop=64, classes=7, dropout=0.0)
FULL = NetworkRecipe(dropout=0.0)
STEPS = 5


def start(network: NetworkRecipe) -> dict[str, torch.Tensor]:
    recipe = Recipe(network=network)
    merged = Network(layer_table(network))
    start_weights(merged, recipe)
    return {name: value.detach() for name, value in merged.named_parameters()}


def batches(architecture: Architecture, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    # Three of the seeds 0 to 9 meet a near tie, in a window of a pooling or at the zero of a ReLU, which two networks
    # whose sums differ in the last bit resolve otherwise: a gradient takes another way, and weights differ by 1.9e-5.
    generator = torch.Generator().manual_seed(1)
    crops = [torch.randn(size, 3, architecture.crop, architecture.crop, generator=generator) * 60 for _ in range(STEPS)]
    return [(crop, torch.randint(architecture.classes, (size,), generator=generator)) for crop in crops]


def train(network: torch.nn.Module, architecture: Architecture, size: int, precision: Precision = "fp32") -> None:
    # A rate at which batches of two do not let the loss leap: rounding would grow a thousandfold within the steps.
    sgd = PaperSgd(network.parameters(), learning_rate=0.003, momentum=0.9, weight_decay=0.0005)
    for crops, labels in batches(architecture, size):
        sgd.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(crops)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        sgd.step()


def split_rank(rank: int, out: Path, recipe: NetworkRecipe, size: int, precision: Precision) -> None:
    architecture = layer_table(recipe)
    world = join_world(architecture.columns, split=True)
    assert world.column_group is not None
    network = SplitNetwork(architecture, world.column, world.column_group)
    mine = split_state(start(recipe), architecture.columns)[world.column]
    network.load_state_dict(mine)
    train(network, architecture, size, precision)
    save_file({name: value.detach() for name, value in network.named_parameters()}, out / f"{rank}.safetensors")
    traffic = {"forward": network.traffic.forward, "backward": network.traffic.backward}
    (out / f"{rank}.json").write_text(json.dumps(traffic))
    leave_world()


def compare(tmp_path: Path, recipe: NetworkRecipe, size: int, precision: Precision = "fp32") -> float:
    """Return the largest difference of any weight between two columns and the merged net after the steps."""
    architecture = layer_table(recipe)
    run_ranks(split_rank, architecture.columns, tmp_path, recipe, size, precision)
    merged = Network(architecture)
    merged.load_state_dict(start(recipe), strict=False)
    train(merged, architecture, size, precision)
    parts = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(architecture.columns)]
    found = merge_states(parts)
    began = start(recipe)
    assert all(not torch.equal(found[name], began[name]) for name in began), "every weight must have moved"
    return max(float((found[name] - value.detach()).abs().max()) for name, value in merged.named_parameters())


@pytest.mark.parametrize(
    "recipe",
    [SMALL, replace(SMALL, lrn_scope="layer"), replace(SMALL, columns=3, width=1 / 8, kernels=(48, 96, 96, 96, 48))],
    ids=["paper", "layer-wide LRN", "three columns"],
)
def test_split_and_merged_weights_agree_after_five_steps(tmp_path: Path, recipe: NetworkRecipe) -> None:
    assert compare(tmp_path, recipe, 6) < 1e-5
    # What crosses is what the table says; the 7 logits have no equal shares.
    expected = {name: STEPS * count for name, count in returned_traffic(layer_table(recipe), 6).items()}
    assert ("conv1.lrn" in expected) == (recipe.lrn_scope == "layer")
    traffic = json.loads((tmp_path / "0.json").read_text())
    assert traffic["backward"] == expected
    assert {name: count for name, count in traffic["forward"].items() if name != "logits"} == expected


def test_in_bfloat16_half_of_the_bytes_cross(tmp_path: Path) -> None:
    recipe = replace(SMALL, lrn_scope="layer", classes=8)
    # Three decimal digits of the products, which the columns add up in another order.
    assert compare(tmp_path, recipe, 6, "bf16") < 1e-3
    expected = expected_traffic(layer_table(recipe), 6, "bf16")
    assert {name: 2 * count for name, count in expected.items()} == expected_traffic(layer_table(recipe), 6)
    for rank in (0, 1):
        traffic = json.loads((tmp_path / f"{rank}.json").read_text())
        assert traffic["forward"] == {name: STEPS * count for name, count in expected.items()}
        returned = returned_traffic(layer_table(recipe), 6, "bf16")
        assert traffic["backward"] == {name: STEPS * count for name, count in returned.items()}


def test_full_width_agrees_and_its_traffic_is_the_papers(tmp_path: Path) -> None:
    size = 2
    assert compare(tmp_path, FULL, size) < 1e-5
    expected = expected_traffic(layer_table(FULL), size)
    # Figure 2: 128 pooled maps of 13 x 13 into layer 3, 128 of 6 x 6 into the first full layer, halves of the others.
    assert expected == {
        "conv3": size * 128 * 13 * 13 * 4,
        "fc6": size * 128 * 6 * 6 * 4,
        "fc7": size * 2048 * 4,
        "fc8": size * 2048 * 4,
        "logits": size * 500 * 4,
    }
    for rank in (0, 1):
        traffic = json.loads((tmp_path / f"{rank}.json").read_text())
        assert traffic["forward"] == {layer: STEPS * count for layer, count in expected.items()}
        # The loss is computed on both columns from all logits, so their gradient does not travel.
        returned = returned_traffic(layer_table(FULL), size)
        assert "logits" not in returned
        assert traffic["backward"] == {layer: STEPS * count for layer, count in returned.items()}


def test_a_column_holds_the_papers_half() -> None:
    parts = split_state(start(NetworkRecipe(width=1.0)), 2)
    sizes = {name: tuple(value.shape) for name, value in parts[1].items() if name.endswith("weight")}
    assert [shape[0] for shape in sizes.values()] == [48, 128, 192, 192, 128, 2048, 2048, 500]
    assert sizes["conv2.weight"] == (128, 48, 5, 5)
    assert sizes["conv3.weight"] == (192, 256, 3, 3)
    assert sizes["fc7.weight"] == (2048, 4096)


def test_states_split_and_merge_bit_for_bit() -> None:
    state = {"a.weight": torch.randn(7, 3), "a.bias": torch.randn(7), "b.weight": torch.randn(8, 2, 3, 3)}
    parts = split_state(state, 2)
    assert [part["a.bias"].shape[0] for part in parts] == shares(7, 2) == [4, 3]
    merged = merge_states(parts)
    assert all(torch.equal(merged[name], value) for name, value in state.items())
