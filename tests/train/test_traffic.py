"""The bytes that cross, by hand; tests/train/test_columns.py holds them against those that real ranks receive."""

from __future__ import annotations

from dataclasses import replace

from alexnet.architecture import layer_table
from alexnet.recipe import NetworkRecipe
from alexnet.train.traffic import expected_traffic, gradient_bytes, returned_traffic

PAPER = NetworkRecipe()


def test_the_papers_network_crosses_123344_bytes_a_crop() -> None:
    table = layer_table(PAPER)
    assert sum(expected_traffic(table, 1).values()) == 86_528 + 18_432 + 2 * 8_192 + 2_000 == 123_344
    assert sum(returned_traffic(table, 3).values()) == 3 * (123_344 - 2_000)


def test_layer_wide_normalisation_gathers_the_maps_where_it_stands() -> None:
    wide = replace(PAPER, lrn_scope="layer")
    found = expected_traffic(layer_table(wide), 1)
    assert found["conv1.lrn"] == 48 * 55 * 55 * 4
    assert found["conv2.lrn"] == 128 * 27 * 27 * 4
    # After the pooling, as Caffe places it, the maps are smaller.
    pooled = replace(wide, steps=(("relu", "pool", "lrn"), *PAPER.steps[1:]))
    assert expected_traffic(layer_table(pooled), 1)["conv1.lrn"] == 48 * 27 * 27 * 4


def test_one_column_crosses_nothing_and_half_the_network_has_half_the_gradients() -> None:
    assert expected_traffic(layer_table(replace(PAPER, columns=1)), 8) == {}
    assert gradient_bytes(layer_table(PAPER), 1) == 60_965_224 * 4
    assert gradient_bytes(layer_table(PAPER), 2) == 60_965_224 * 2
