from __future__ import annotations

import json

import pytest

from alexnet.errors import ModelError
from alexnet.metadata import PROPERTY, ModelMetadata
from alexnet.pictures import Preprocessing

METADATA = ModelMetadata(
    name="quickstart",
    labels=("clock", "fisch, groß"),
    preprocessing=Preprocessing(128),
    crop=112,
    crops=10,
    input="pixels",
    mean_sha256="a" * 64,
    recipe={"name": "quickstart", "network": {"width": 0.25}},
    checkpoint_sha256="b" * 64,
    toolchain_version="0.1.0",
    lrn="conv",
    stem="plain",
    precision="fp32",
    parity={"largest": 1e-7},
)


def test_properties_round_trip_and_can_be_read_in_a_viewer() -> None:
    properties = METADATA.to_properties()
    assert ModelMetadata.from_properties(properties, "model.onnx") == METADATA
    assert all(isinstance(value, str) for value in properties.values())
    assert json.loads(properties["labels"]) == list(METADATA.labels)
    assert properties["crop"] == "112"


def test_anothers_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model.onnx is an ONNX model without this toolchain's metadata"):
        ModelMetadata.from_properties({"producer": "someone"}, "model.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1"),
        ({"labels": None}, "incomplete metadata"),
        ({"preprocessing": {"side": 128, "resize": "warp"}}, "expects preprocessing"),
        ({"preprocessing": {}}, "expects preprocessing"),
    ],
)
def test_metadata_that_cannot_be_honoured_is_refused(change: dict[str, object], message: str) -> None:
    values = {**METADATA.to_values(), **change}
    with pytest.raises(ModelError, match=message):
        ModelMetadata.from_properties({PROPERTY: json.dumps(values)}, "model.onnx")


def test_a_missing_field_is_named() -> None:
    values = METADATA.to_values()
    del values["mean_sha256"]
    with pytest.raises(ModelError, match="mean_sha256"):
        ModelMetadata.from_values(values, "model.onnx")


def test_damaged_json_is_refused() -> None:
    with pytest.raises(ModelError, match="damaged metadata"):
        ModelMetadata.from_properties({PROPERTY: "{"}, "model.onnx")
