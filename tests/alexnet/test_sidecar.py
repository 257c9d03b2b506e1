from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alexnet.errors import SidecarError
from alexnet.metadata import ModelMetadata
from alexnet.pictures import Preprocessing
from alexnet.sidecar import Profile, Sidecar, Verification, sidecar_beside

PLAN = b"the bytes of an engine"


def example() -> Sidecar:
    metadata = ModelMetadata(
        name="quickstart",
        labels=("a", "b"),
        preprocessing=Preprocessing(64),
        crop=56,
        crops=10,
        input="pixels",
        mean_sha256="1" * 64,
        recipe={"name": "quickstart"},
        checkpoint_sha256="2" * 64,
        toolchain_version="0.1.0",
        lrn="conv",
        stem="plain",
        precision="fp32",
        parity={"largest": 1e-7},
    )
    return Sidecar(
        module="tensorrt_rtx",
        tensorrt_version="1.7.1",
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        plan_bytes=len(PLAN),
        onnx_sha256="3" * 64,
        onnx_name="model.onnx",
        target="rtx",
        compute_capabilities=("8.9", "12.0"),
        gpu_name=None,
        precision="fp32",
        profile=Profile(1, 8, 32),
        input_name="pictures",
        output_name="probabilities",
        verified=False,
        verified_reason="no GPU here",
        metadata=metadata,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(PLAN)
    example().save(sidecar_beside(path))
    return path


def test_it_stands_beside_the_plan_and_survives_the_disk(plan: Path) -> None:
    assert sidecar_beside(plan).name == "model.plan.json"
    assert Sidecar.load(plan) == example()
    built = replace(example(), gpu_name="NVIDIA H200", verified=True)
    built.save(sidecar_beside(plan))
    assert Sidecar.load(plan) == built


def test_a_plan_without_one_is_told_how_to_get_it(plan: Path) -> None:
    sidecar_beside(plan).unlink()
    with pytest.raises(SidecarError, match=r"has no sidecar model\.plan\.json beside it.*alexnet build"):
        Sidecar.load(plan)


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_the_digest_is_of_these_bytes(plan: Path, change: str) -> None:
    Sidecar.load(plan).check_digest(plan)
    plan.write_bytes({"longer": PLAN + b"!", "shorter": PLAN[:-1], "other": PLAN.upper()}[change])
    with pytest.raises(SidecarError, match=r"sha256 .* its sidecar says .*alexnet build model\.onnx"):
        Sidecar.load(plan).check_digest(plan)


@pytest.mark.parametrize("field", example().to_values())
@pytest.mark.parametrize("value", [None, [], {}, 7, True, [1], {"side": "x"}], ids=repr)
def test_every_field_has_its_type(plan: Path, field: str, value: Any) -> None:
    values = json.loads(sidecar_beside(plan).read_text())
    sidecar_beside(plan).write_text(json.dumps({**values, field: value}))
    allowed = (field, value) in [("gpu_name", None), ("plan_bytes", 7), ("compute_capabilities", [])]
    allowed = allowed or (field in ("layers", "options", "parity") and isinstance(value, dict))
    if allowed or (field, value is True) == ("verified", True):
        Sidecar.load(plan)
        return
    with pytest.raises(SidecarError, match=rf"{field}|not a sidecar of format 2") as caught:
        Sidecar.load(plan)
    assert caught.value.exit_code == 11


@pytest.mark.parametrize("profile", [(2, 1, 3), (0, 1, 2), (1, 2, 1), ("1", 2, 3), (1, 2, 3.5)])
def test_a_profile_must_rise(plan: Path, profile: tuple[Any, ...]) -> None:
    values = json.loads(sidecar_beside(plan).read_text())
    values["profile"] = dict(zip(("smallest", "best", "largest"), profile, strict=True))
    sidecar_beside(plan).write_text(json.dumps(values))
    with pytest.raises(SidecarError, match="profile is"):
        Sidecar.load(plan)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", '{"format": NaN}', "\ud800"], ids=range(6))
def test_what_is_no_json_object_is_refused(plan: Path, text: str) -> None:
    sidecar_beside(plan).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SidecarError, match="build again"):
        Sidecar.load(plan)


def test_fields_must_be_those_of_this_format(plan: Path) -> None:
    values = json.loads(sidecar_beside(plan).read_text())
    del values["onnx_name"]
    sidecar_beside(plan).write_text(json.dumps({**values, "plugin": "evil.so"}))
    with pytest.raises(SidecarError, match="missing or unknown: onnx_name, plugin"):
        Sidecar.load(plan)


def test_capabilities_are_those_named_or_later_ones_where_the_plan_says_so() -> None:
    assert example().runs_on("8.9")
    assert not example().runs_on("9.0")
    from_ampere = replace(example(), compute_capabilities=("8.0+",))
    assert [from_ampere.runs_on(name) for name in ("7.5", "8.0", "8.9", "12.0")] == [False, True, True, True]


def test_what_became_of_the_parity_pack_is_recorded(plan: Path) -> None:
    proven = example().proven(Verification(True, "differs by 1e-7", {"largest": 1e-7}))
    proven.save(sidecar_beside(plan))
    assert (Sidecar.load(plan).verified, Sidecar.load(plan).parity) == (True, {"largest": 1e-7})
