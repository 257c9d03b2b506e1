from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from alexnet.architecture import Conv, layer_table
from alexnet.errors import ModelError
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.stem import geometry, stem_refusal
from alexnet.recipe import NetworkRecipe
from tests.export.conftest import random_pictures, random_source

STEPS_2012 = (("lrn", "pool", "relu"), ("relu", "lrn", "map_norm", "pool"), ("relu",), ("relu",), ("relu", "pool"))
BEFORE_A_NEIGHBOUR = (("relu", "map_norm", "lrn", "pool"), *STEPS_2012[1:])
BARE = ((), *STEPS_2012[1:])


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def tiny(**changes: object) -> NetworkRecipe:
    values = {"width": 1 / 16, "crop": 64, "classes": 7} | changes
    return NetworkRecipe(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (tiny(), 72),
        (tiny(), 96),
        (tiny(conv1_padding="both"), 80),
        (tiny(crop=72, conv1_padding="none"), 80),
        (tiny(crop=67, conv1_padding="none"), 75),
        (tiny(crop=64), 64),
        (tiny(columns=1), 72),
        (tiny(lrn_scope="layer", lrn_size=3), 72),
        (tiny(steps=STEPS_2012), 72),
        (tiny(steps=BEFORE_A_NEIGHBOUR), 72),
        (tiny(steps=BARE), 72),
        (tiny(crop=65, sizes=(5, 5, 3, 3, 3), strides=(2, 1, 1, 1, 1), conv1_padding="both"), 73),
    ],
    ids=[
        "paper",
        "wide margin",
        "both",
        "none",
        "227",
        "no margin",
        "one column",
        "layer",
        "2012",
        "map norm",
        "bare",
        "s2",
    ],
)
def test_the_shared_stem_answers_as_the_plain_graph_does(network: NetworkRecipe, side: int) -> None:
    source = replace(random_source(network, side=side).numbers(), divisor=1.1)
    pictures = random_pictures(3, side)
    plain, shared = (
        session(onnx_model([source], ExportOptions(stem=stem))).run(None, {"pictures": pictures})[0]
        for stem in ("plain", "shared")
    )
    assert plain.std() > 0.02
    assert np.abs(plain - shared).max() < 1e-6


def test_the_papers_stem_computes_a_third_of_the_positions() -> None:
    layer = layer_table(NetworkRecipe()).layers[0]
    assert isinstance(layer, Conv)
    place = geometry(layer, 224)
    assert (place.total, place.low, place.high, place.first, place.inner) == (55, 0, 1, 0, 54)
    whole = (256 - 11) // 4 + 1
    assert 2 * whole**2 + 10 * (55**2 - 54**2) == 8778


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


@pytest.mark.parametrize(
    ("network", "side", "reason"),
    [
        (tiny(), 70, "a crop of 64 in 70 pixels starts at pixel 3, no multiple of conv1's stride 4"),
        (tiny(), 68, "starts at pixel 2"),
        (
            tiny(crop=64, strides=(1, 1, 1, 1, 1), sizes=(5, 5, 3, 3, 3)),
            67,
            "is not the centre of the mirrored picture",
        ),
    ],
)
def test_crops_that_cannot_share_are_refused(network: NetworkRecipe, side: int, reason: str) -> None:
    source = random_source(network, side=side).numbers()
    assert reason in (stem_refusal(source) or "")
    with pytest.raises(ModelError, match="export with --stem plain"):
        onnx_model([source], ExportOptions(stem="shared"))
