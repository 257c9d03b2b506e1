from __future__ import annotations

import pytest

from alexnet.architecture import MapNorm, Pool, Relu, ResponseNorm, conv1_padding, layer_table
from alexnet.errors import RecipeError
from alexnet.recipe import NetworkRecipe


def test_the_paper_has_60965224_parameters() -> None:
    assert layer_table(NetworkRecipe()).parameters == 60_965_224


def test_neurons_are_the_papers() -> None:
    neurons = [row.neurons for row in layer_table(NetworkRecipe()).rows()]
    # Section 3.5; the paper prints 253,440 for layer 1, where 96 maps of 55 x 55 are 290,400.
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


def test_shapes_follow_figure_2() -> None:
    rows = list(layer_table(NetworkRecipe()).rows())
    assert [(row.made.channels, row.made.side) for row in rows[:5]] == [
        (96, 55),
        (256, 27),
        (384, 13),
        (384, 13),
        (256, 13),
    ]
    assert [row.output.side for row in rows[:5]] == [27, 13, 13, 13, 6]
    assert [row.groups for row in rows] == [1, 2, 1, 2, 2, 1, 1, 1]


def test_macs_of_the_first_layer() -> None:
    first = next(iter(layer_table(NetworkRecipe()).rows()))
    assert first.macs == 96 * 55 * 55 * 11 * 11 * 3


@pytest.mark.parametrize(
    ("crop", "place", "expected"),
    [
        (224, "after", (0, 3)),
        (224, "both", (2, 2)),
        (227, "none", (0, 0)),
        (112, "after", (0, 3)),
        (227, "after", (0, 0)),
    ],
)
def test_conv1_padding(crop: int, place: str, expected: tuple[int, int]) -> None:
    assert conv1_padding(crop, 11, 4, place) == expected


@pytest.mark.parametrize(("crop", "place"), [(224, "after"), (224, "both"), (227, "none")])
def test_every_padding_gives_55_positions(crop: int, place: str) -> None:
    network = NetworkRecipe(crop=crop, conv1_padding=place)  # type: ignore[arg-type]
    assert next(iter(layer_table(network).rows())).made.side == 55


def test_the_2012_source_is_data() -> None:
    network = NetworkRecipe(
        steps=(
            ("lrn", "pool", "relu"),
            ("relu", "lrn", "map_norm", "pool"),
            ("relu",),
            ("relu",),
            ("relu", "pool"),
        ),
        lrn_alpha=1e-4 / 5,
    )
    first, second = layer_table(network).layers[:2]
    assert first.steps == (ResponseNorm(alpha=1e-4 / 5), Pool(), Relu())
    assert second.steps == (Relu(), ResponseNorm(alpha=1e-4 / 5), MapNorm(), Pool())


def test_width_scales_kernels_and_hidden_neurons_but_not_classes() -> None:
    layers = layer_table(NetworkRecipe(width=0.25)).layers
    sizes = [getattr(layer, "kernels", None) or getattr(layer, "neurons", None) for layer in layers]
    assert sizes == [24, 64, 96, 96, 64, 1024, 1024, 1000]


def test_one_column_of_the_2012_source() -> None:
    one = layer_table(NetworkRecipe(columns=1, kernels=(48, 128, 192, 192, 256)))
    assert [row.groups for row in one.rows()] == [1] * 8


def test_without_dropout_no_layer_has_it() -> None:
    assert all(len(layer.steps) <= 3 for layer in layer_table(NetworkRecipe(dropout=0.0)).layers)
    assert layer_table(NetworkRecipe(dropout=0.0)).layers[5].steps == (Relu(),)


def test_a_crop_too_small_is_refused_by_layer() -> None:
    assert layer_table(NetworkRecipe(crop=64)).parameters > 0
    with pytest.raises(RecipeError, match=r"conv5 has nothing left to see.*crops of 63"):
        layer_table(NetworkRecipe(crop=63))
