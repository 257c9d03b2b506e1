from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from alexnet.files import sha256_of
from alexnet.metadata import ModelMetadata
from alexnet.runtime.layers import layers_of_file
from alexnet.sidecar import Profile, Sidecar, sidecar_beside
from tests.runtime.conftest import SIDE, metadata

PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
FACTS = metadata(crops=1)


def with_a_layer(model: Path) -> Path:
    """Give the colour model's graph a tensor named as a layer: `fc8`, its logits."""
    proto = onnx.load(model)
    proto.graph.node.append(helper.make_node("Identity", ["logits"], ["fc8"], name="fc8"))
    onnx.save(proto, model)
    return model


def plan_of(model: Path, metadata_of_plan: ModelMetadata = FACTS, digest: str | None = None) -> Path:
    """Write a plan's sidecar, naming the model it was built from; its own bytes are not read for layers."""
    plan = model.with_suffix(".plan")
    plan.write_bytes(b"plan")
    Sidecar(
        module="tensorrt",
        tensorrt_version="11",
        plan_sha256=sha256_of(plan),
        plan_bytes=4,
        onnx_sha256=digest or sha256_of(model),
        onnx_name=model.name,
        target="gpu",
        compute_capabilities=("9.0",),
        gpu_name=None,
        precision="fp32",
        profile=Profile(1, 8, 32),
        input_name="pictures",
        output_name="probabilities",
        verified=False,
        verified_reason="",
        metadata=metadata_of_plan,
    ).save(sidecar_beside(plan))
    return plan


def test_the_layers_of_an_onnx_model_are_its_named_tensors(model: Path) -> None:
    found = layers_of_file(with_a_layer(model), FACTS, PICTURE)
    assert found.outputs is not None
    assert np.allclose(found.outputs["fc8"], 0.05 * PICTURE.mean((0, 1)), atol=1e-4)
    assert (list(found.outputs), found.note) == (["fc8"], "")


def test_a_plan_has_those_of_the_model_it_was_built_from(model: Path) -> None:
    found = layers_of_file(plan_of(with_a_layer(model)), FACTS, PICTURE)
    assert found.outputs is not None
    assert list(found.outputs) == ["fc8"]
    assert found.note == (
        "model.plan is a plan, which shows its answers only: the layers are those of model.onnx beside it"
    )


def test_a_plan_without_that_model_beside_it_has_none_and_says_so(model: Path) -> None:
    for plan in (plan_of(model, digest="0" * 64), plan_of(model)):
        if plan.with_suffix(".onnx").is_file() and sha256_of(model) in sidecar_beside(plan).read_text():
            model.unlink()
        found = layers_of_file(plan, FACTS, PICTURE)
        assert found.outputs is None
        assert "shows its answers only, and model.onnx, which it was built from, is not beside it" in found.note
