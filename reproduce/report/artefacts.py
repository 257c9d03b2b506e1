"""The models and plans made from a run, with the proof of parity that each carries. Nothing is run here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError, InputError
from alexnet.external import check_external_data, load_model
from alexnet.files import sha256_of
from alexnet.metadata import ModelMetadata
from alexnet.parity import TOLERANCE, ParityPack, parity_pack_beside
from alexnet.run import Run
from alexnet.sidecar import Sidecar

SUFFIXES = (".onnx", ".plan", ".engine")


@dataclass(frozen=True)
class Artefact:
    """One file made from a run, as it and what stands beside it describe it.

    `status` is one of "holds", "differs", "not checked", "other weights" and "unreadable", and `why` says it in words;
    `facts` what it is; `figures` those of the proof (`alexnet.parity.Comparison`), empty where there was none; `pack`
    the parity pack beside it in words.
    """

    path: Path
    status: str
    why: str
    facts: str = ""
    bytes: int = 0
    sha256: str = ""
    figures: dict[str, Any] | None = None
    tolerance: float | None = None
    pack: str = ""


def find_artefacts(run: Run, checkpoint_sha256: str, given: list[Path]) -> list[Artefact]:
    """Return what was made from a checkpoint: files in the run, beside it, here, and in `given`, sorted by path.

    A file that was found and is not of this checkpoint is left out; one that was given is shown with that said.
    Raises InputError when a path of `given` does not exist or holds no model.
    """
    asked = [file for path in given for file in _models(path)]
    near = [file for folder in (run.path, run.path.parent, Path()) for file in _in(folder)]
    found = []
    for path in dict.fromkeys(sorted({file.resolve() for file in asked + near})):
        artefact, digests = _read(path)
        ours = checkpoint_sha256 in digests
        if ours or path in {file.resolve() for file in asked}:
            found.append(artefact if ours or not digests else _foreign(artefact, digests))
    return found


def _models(path: Path) -> list[Path]:
    """Return the model files that a given path names; InputError when there are none."""
    if not path.exists():
        raise InputError(f"{path} does not exist; give a .onnx, a .plan or a folder of them to --artefact")
    files = _in(path) if path.is_dir() else [path]
    if not files or files[0].suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} holds no model ({', '.join(SUFFIXES)}); write one with: alexnet export RUN --onnx")
    return files


def _in(folder: Path) -> list[Path]:
    """Return the model files that stand in a folder."""
    return [entry for entry in sorted(folder.iterdir()) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def _read(path: Path) -> tuple[Artefact, tuple[str, ...]]:
    """Return a file's description and the digests of the checkpoints in it, none where it cannot be read."""
    try:
        return _model(path) if path.suffix.lower() == ".onnx" else _plan(path)
    except AlexNetError as error:
        return Artefact(path, "unreadable", " ".join(error.message.split()), bytes=path.stat().st_size), ()


def _foreign(artefact: Artefact, digests: tuple[str, ...]) -> Artefact:
    """Return an artefact whose figures say nothing of this run."""
    why = f"not made from the weights of this page but from checkpoint {digests[0][:12]}..."
    return Artefact(artefact.path, "other weights", why, artefact.facts, artefact.bytes, artefact.sha256)


def _model(path: Path) -> tuple[Artefact, tuple[str, ...]]:
    """Return what an ONNX model says of itself: the figures of the proof that its export ended with."""
    proto = load_model(path)
    size = path.stat().st_size + sum(file.stat().st_size for file in check_external_data(proto, path))
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, str(path))
    status, why, tolerance = _verdict(metadata.parity, metadata.precision)
    if status == "not checked":
        why = f"the file carries no proof; make one with: alexnet check {path.name}"
    facts = f"ONNX, {_form(metadata)}"
    pack = _pack(path, metadata.checkpoint_sha256)
    found = Artefact(path, status, why, facts, size, sha256_of(path), metadata.parity, tolerance, pack)
    return found, (metadata.checkpoint_sha256, *metadata.members)


def _plan(path: Path) -> tuple[Artefact, tuple[str, ...]]:
    """Return what a plan's sidecar says of it, once its digest holds."""
    sidecar = Sidecar.load(path)
    sidecar.check_digest(path)
    metadata = sidecar.metadata
    status, why, tolerance = _verdict(sidecar.parity if sidecar.verified else {}, sidecar.precision)
    if status == "not checked":
        why = sidecar.verified_reason
    runs_on = ", ".join(sidecar.compute_capabilities)
    facts = f"{sidecar.module} {sidecar.tensorrt_version} for {runs_on}, {_form(metadata, sidecar.precision)}"
    pack = _pack(path, metadata.checkpoint_sha256)
    figures = sidecar.parity if sidecar.verified else {}
    found = Artefact(path, status, why, facts, sidecar.plan_bytes, sidecar.plan_sha256, figures, tolerance, pack)
    return found, (metadata.checkpoint_sha256, *metadata.members)


def _verdict(parity: dict[str, Any], precision: str) -> tuple[str, str, float | None]:
    """Return the status of a proof's figures, the reason, and the tolerance that they had to hold."""
    largest = parity.get("largest")
    tolerance = parity.get("tolerance", TOLERANCE.get(precision))
    if not isinstance(largest, int | float) or not isinstance(tolerance, int | float):
        return "not checked", "", None
    holds = largest <= tolerance
    runtime = parity.get("runtime")
    by = f"by {runtime}" if isinstance(runtime, str) else "when it was made"
    words = f"every probability is within {tolerance:g} of the training model's" if holds else "past its tolerance"
    return ("holds" if holds else "differs"), f"{words}, checked {by}", float(tolerance)


def _form(metadata: ModelMetadata, precision: str = "") -> str:
    """Return the form of a model in a few words."""
    crops = f"{metadata.crops} crops" if metadata.crops > 1 else "centre crop"
    members = f", mean of {len(metadata.members)} networks" if metadata.members else ""
    return f"{precision or metadata.precision}, {crops}, LRN {metadata.lrn}, {metadata.stem} stem{members}"


def _pack(path: Path, checkpoint_sha256: str) -> str:
    """Return in words the parity pack beside a model, with which anyone can repeat the check."""
    pack = parity_pack_beside(path)
    if not pack.is_file():
        return "no parity pack beside it"
    try:
        found = ParityPack.load(pack)
    except InputError:
        return f"{pack.name} is damaged"
    if found.checkpoint_sha256 != checkpoint_sha256:
        return f"{pack.name} is of other weights"
    return f"{pack.name}, {len(found.names)} pictures"
