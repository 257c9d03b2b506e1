from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import onnx
import pytest

from alexnet.errors import InputError
from alexnet.metadata import ModelMetadata
from alexnet.reproduce.report.artefacts import find_artefacts
from alexnet.run import Run
from alexnet.sidecar import Profile, Sidecar, Verification, sidecar_beside
from tests.runtime.conftest import colour_model


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A copy of the run, with its model in it and nothing beside it."""
    monkeypatch.chdir(tmp_path)
    copied = Path(shutil.copytree(trained / "runs" / "tiny-001", tmp_path / "runs" / "tiny-001"))
    for name in ("model.onnx", "model.parity.safetensors"):
        shutil.copy(trained / "runs" / name, copied / name)
    return Run(copied)


def checkpoint(run: Run) -> str:
    return str(json.loads(run.checkpoint_path.read_text())["sha256"])


def facts(path: Path) -> ModelMetadata:
    return ModelMetadata.from_properties({p.key: p.value for p in onnx.load(path).metadata_props}, "")


def changed(path: Path, parity: dict[str, object]) -> None:
    """Write other figures of a proof into a model."""
    model, known = onnx.load(path), facts(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, ModelMetadata(**(known.__dict__ | {"parity": parity})).to_properties())
    onnx.save(model, path)


def plan(run: Run, verified: bool) -> Path:
    """Write a plan that nobody will load, with the sidecar of one made from the run."""
    path = run.path / "model.plan"
    path.write_bytes(b"a plan")

    digest = hashlib.sha256(b"a plan").hexdigest()
    known = facts(run.path / "model.onnx")
    sidecar = Sidecar(
        "tensorrt", "11.0", digest, 6, "0" * 64, "model.onnx", "gpu", ("8.9",), "a GPU", "fp16", Profile(1, 8, 32),
        "pictures", "probabilities", False, "no GPU was there", known,
    )  # fmt: skip
    if verified:
        sidecar = sidecar.proven(Verification(True, "held", {"pictures": 9, "largest": 2e-3, "top1": 1.0}))
    sidecar.save(sidecar_beside(path))
    return path


def test_a_model_in_the_run_holds_by_its_own_figures(run: Run) -> None:
    (found,) = find_artefacts(run, checkpoint(run), [])
    assert (found.path.name, found.status, found.tolerance) == ("model.onnx", "holds", 1e-4)
    assert found.figures is not None and 0 <= found.figures["largest"] <= 1e-4
    assert found.pack.startswith("model.parity.safetensors, ")


def test_figures_past_the_tolerance_are_not_called_parity(run: Run) -> None:
    changed(run.path / "model.onnx", {"pictures": 3, "largest": 0.5, "tolerance": 1e-4, "top1": 0.3})
    (found,) = find_artefacts(run, checkpoint(run), [])
    assert (found.status, found.why.startswith("past its tolerance")) == ("differs", True)


@pytest.mark.parametrize("parity", [{}, {"largest": None}, {"largest": "small"}])
def test_without_figures_nothing_was_checked(run: Run, parity: dict[str, object]) -> None:
    changed(run.path / "model.onnx", parity)
    (found,) = find_artefacts(run, checkpoint(run), [])
    assert (found.status, "alexnet check" in found.why) == ("not checked", True)


def test_a_plan_says_what_its_sidecar_says(run: Run) -> None:
    plan(run, verified=False)
    found = find_artefacts(run, checkpoint(run), [])[1]
    assert (found.status, found.why, found.figures) == ("not checked", "no GPU was there", {})
    plan(run, verified=True)
    found = find_artefacts(run, checkpoint(run), [])[1]
    assert (found.status, found.tolerance) == ("holds", 1e-2)


def test_a_plan_that_is_not_its_sidecars_is_only_shown_when_it_is_given(run: Run) -> None:
    path = plan(run, verified=True)
    path.write_bytes(b"another")
    assert [found.path.name for found in find_artefacts(run, checkpoint(run), [])] == ["model.onnx"]
    found = find_artefacts(run, checkpoint(run), [path])[1]
    assert (found.status, "sha256" in found.why) == ("unreadable", True)


def test_a_model_of_other_weights_has_no_figures_here(run: Run, tmp_path: Path) -> None:
    other = colour_model(tmp_path / "colours.onnx")
    assert [found.path.name for found in find_artefacts(run, checkpoint(run), [])] == ["model.onnx"]
    found = find_artefacts(run, checkpoint(run), [other])[0]
    assert (found.path.name, found.status, found.figures) == ("colours.onnx", "other weights", None)


def test_what_is_no_model_is_refused(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "gone.onnx", run.labels_path):
        with pytest.raises(InputError):
            find_artefacts(run, checkpoint(run), [path])
