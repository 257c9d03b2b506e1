from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from alexnet.architecture import layer_table
from alexnet.errors import ModelError
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.recipe import NetworkRecipe
from alexnet.stem import Stem, stem_levels, stem_refusal, stem_shares
from tests.export.conftest import random_pictures, random_source

STEPS_2012 = (("lrn", "pool", "relu"), ("relu", "lrn", "map_norm", "pool"), ("relu",), ("relu",), ("relu", "pool"))
BEFORE_A_NEIGHBOUR = (("relu", "map_norm", "lrn", "pool"), *STEPS_2012[1:])
BARE = ((), *STEPS_2012[1:])


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def tiny(**changes: object) -> NetworkRecipe:
    values = {"width": 1 / 16, "crop": 64, "classes": 7} | changes
    return NetworkRecipe(**values)  # type: ignore[arg-type]


SHAPES = {
    "paper": tiny(),
    "both": tiny(conv1_padding="both"),
    "none": tiny(crop=72, conv1_padding="none"),
    "227": tiny(crop=67, conv1_padding="none"),
    "one column": tiny(columns=1),
    "layer": tiny(lrn_scope="layer", lrn_size=3),
    "2012": tiny(steps=STEPS_2012),
    "bare": tiny(steps=BARE),
    "s2": tiny(crop=65, sizes=(5, 5, 3, 3, 3), strides=(2, 1, 1, 1, 1), conv1_padding="both"),
}


def check_against_plain(network: NetworkRecipe, side: int, stem: Stem) -> None:
    source = replace(random_source(network, side=side).numbers(), divisor=1.1)
    pictures = random_pictures(3, side)
    plain, shared = (
        session(onnx_model([source], ExportOptions(stem=form))).run(None, {"pictures": pictures})[0]
        for form in ("plain", stem)
    )
    assert plain.std() > 0.02
    assert np.abs(plain - shared).max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("margin", [0, 8, 32])
def test_the_shared_stem_answers_as_the_plain_graph_does(shape: str, margin: int) -> None:
    check_against_plain(SHAPES[shape], SHAPES[shape].crop + margin, "shared")


def test_the_shared_stem_ends_before_a_norm_over_neighbours() -> None:
    check_against_plain(tiny(steps=BEFORE_A_NEIGHBOUR), 72, "shared")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("margin", [0, 16, 48])
def test_the_deep_stem_answers_as_the_plain_graph_does(shape: str, margin: int) -> None:
    check_against_plain(SHAPES[shape], SHAPES[shape].crop + margin, "deep")


def test_the_papers_stem_computes_a_third_of_conv1_and_half_of_conv2() -> None:
    table = layer_table(NetworkRecipe())
    conv1, pool1, conv2 = stem_levels(table, 256, "deep")
    assert stem_levels(table, 256, "shared") == [conv1]
    assert (conv1.total, conv1.inner, conv1.start, conv1.whole, conv1.jump) == (55, (0, 54), 0, 62, 4)
    assert (pool1.total, pool1.inner, pool1.start, pool1.whole, pool1.jump) == (27, (0, 26), 0, 30, 8)
    assert (conv2.total, conv2.inner, conv2.start, conv2.whole, conv2.jump) == (27, (2, 24), 0, 26, 8)
    assert stem_shares(table, 256, 10, "deep") == {"conv1": 8778 / 30250, "conv2": 3802 / 7290}
    assert stem_shares(table, 256, 10, "plain") == {}


def test_only_edges_are_computed_for_a_crop_alone() -> None:
    names = [
        node.name for node in onnx_model([random_source(tiny()).numbers()], ExportOptions(stem="shared")).graph.node
    ]
    assert [name for name in names if name.endswith("conv1")] == [
        "stem/whole/conv1",
        "stem/right/conv1",
        "stem/bottom/conv1",
    ]
    assert {"lrn1", "pool1", "conv2"} <= set(names)


def test_a_deep_stem_names_what_a_plain_graph_names_after_conv2() -> None:
    names = [
        node.name
        for node in onnx_model([random_source(tiny(), side=96).numbers()], ExportOptions(stem="deep")).graph.node
    ]
    assert {"stem/whole/conv1", "stem/whole/pool1", "stem/whole/conv2", "lrn2", "pool2", "conv3"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("network", "side", "stem", "reason"),
    [
        (tiny(), 70, "shared", "a crop of 64 in 70 pixels starts at pixel 3, no multiple of conv1's stride 4"),
        (tiny(), 68, "shared", "starts at pixel 2"),
        (tiny(), 72, "deep", "a crop of 64 in 72 pixels starts at pixel 4, no multiple of the 8 pixels between"),
        (tiny(steps=BEFORE_A_NEIGHBOUR), 96, "deep", "conv1 is normalised over neighbours within each map"),
        (tiny(crop=64, sizes=(11, 15, 3, 3, 3)), 96, "deep", "every position of conv2 sees padding"),
        (
            tiny(crop=64, strides=(1, 1, 1, 1, 1), sizes=(5, 5, 3, 3, 3)),
            67,
            "shared",
            "is not the centre of the mirrored picture",
        ),
    ],
)
def test_crops_that_cannot_share_are_refused(network: NetworkRecipe, side: int, stem: Stem, reason: str) -> None:
    source = random_source(network, side=side).numbers()
    assert reason in (stem_refusal(source.architecture, side, stem) or "")
    with pytest.raises(ModelError, match="export with --stem plain"):
        onnx_model([source], ExportOptions(stem=stem))
