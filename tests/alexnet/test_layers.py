from __future__ import annotations

import numpy as np
import pytest

from alexnet.architecture import layer_table, named_steps
from alexnet.layers import LAYER_TOLERANCE, LayerTolerance, compare_layers, is_layer
from alexnet.recipe import NetworkRecipe

FINE = LAYER_TOLERANCE["fp32"]


def outputs(**changes: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    values = {name: rng.normal(0, 5, (4, 3, 3)).astype(np.float32) for name in ("crops", "conv1", "lrn1")}
    return values | changes


def test_every_name_of_the_layer_table_is_a_layer_and_inner_tensors_are_none() -> None:
    for number, layer in enumerate(layer_table(NetworkRecipe()).layers, start=1):
        assert is_layer(layer.name)
        assert all(is_layer(name) == (not name.startswith("dropout")) for name, _ in named_steps(number, layer))
    assert all(is_layer(name) for name in ("crops", "relu1_2", "map_norm2", "net2/conv1", "net12/crops"))
    for name in ("lrn1/scale", "stem/conv1", "conv1.weight", "crop0", "softmax", "five_crops", "conv1_quantized"):
        assert not is_layer(name)


def test_the_first_layer_past_the_tolerance_is_named() -> None:
    changed = outputs()
    changed["conv1"] = changed["conv1"] + np.float32(1e-6)
    changed["lrn1"] = changed["lrn1"] * np.float32(1.5)
    found = compare_layers(outputs(), changed, FINE)
    assert found.first is not None
    assert (found.first.name, found.first.relative) == ("lrn1", pytest.approx(0.5, rel=1e-5))
    assert "the first layer that differs is lrn1, by 0.5 of its largest value" in found.located()
    assert [line.split()[0] for line in found.table().splitlines() if "<-" in line] == ["lrn1"]
    assert compare_layers(outputs(), changed, LayerTolerance(0, 0.6)).first is None


@pytest.mark.parametrize("wrong", [np.full((4, 3, 3), np.nan), np.full((4, 3, 3), np.inf), np.zeros((4, 3))])
def test_nan_infinity_and_another_shape_pass_no_tolerance(wrong: np.ndarray) -> None:  # type: ignore[type-arg]
    found = compare_layers(outputs(), outputs(conv1=wrong.astype(np.float32)), LayerTolerance(1e9, 1e9))
    assert found.first is not None
    assert found.first.name == "conv1"


def test_layers_that_are_lacking_are_listed_and_not_compared() -> None:
    less = {"lrn1": outputs()["lrn1"], "fc9": outputs()["lrn1"]}
    found = compare_layers(outputs(), less, FINE)
    assert [row.name for row in found.rows] == ["lrn1"]
    assert found.lacking == ("crops", "conv1")
    assert "all 1 layers" in found.located()
    assert "no layer could be compared" in compare_layers(outputs(), {}, FINE).located()


def test_a_layer_of_zeros_is_compared_with_the_smallest_scale() -> None:
    zeros = np.zeros((4, 3, 3), dtype=np.float32)
    assert compare_layers(outputs(conv1=zeros), outputs(conv1=zeros), FINE).first is None
    assert compare_layers(outputs(conv1=zeros), outputs(conv1=zeros + np.float32(1)), FINE).first is not None


def test_the_networks_input_has_a_tolerance_of_its_own() -> None:
    changed = outputs()
    changed = {name: value * np.float32(1.02) for name, value in changed.items()}
    bf16 = LAYER_TOLERANCE["bf16"]
    found = compare_layers(outputs(), changed, bf16)
    assert [row.name for row in found.rows if not row.holds] == ["crops"]
    assert "the first layer that differs is crops, by 0.02 of its largest value, expected at most 0.008" in (
        found.located()
    )
    assert bf16.of("net2/crops") == bf16.crops
    for tolerance in LAYER_TOLERANCE.values():
        assert tolerance.crops < tolerance.layers
