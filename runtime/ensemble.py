"""Several engines as one: their probabilities averaged, as the paper averages its networks (section 6, Table 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from alexnet.errors import ModelError
from alexnet.metadata import ModelMetadata
from alexnet.runtime.backends import Backend, BackendOptions, FeatureBackend, Floats, Pixels, open_backend

CROPS = {"ten": 10, "one": 1}


def open_engines(
    paths: Sequence[Path], options: BackendOptions, crops: str | None, say: Callable[[str], None] | None = None
) -> Backend:
    """Return the model in `paths`, or the average of several.

    Raises ModelError when their labels or their preprocessing differ, when an engine does not take the `crops` (ten or
    one) that were asked for, and what `open_backend` raises.
    """
    members: list[Backend] = []
    for path in paths:
        member = open_backend(path, options, say)
        if crops and member.metadata.crops != CROPS[crops]:
            raise ModelError(
                f"{path} averages {member.metadata.crops} crops, --crops {crops} was asked for; export it with: "
                f"alexnet export --onnx --crops {crops}"
            )
        if members:
            _check_alike(paths[0], members[0].metadata, path, member.metadata)
        members.append(member)
    return members[0] if len(members) == 1 else Ensemble(members)


def _check_alike(first: Path, one: ModelMetadata, second: Path, other: ModelMetadata) -> None:
    """Raise ModelError, naming both files, unless two models take the same pictures and know the same classes."""
    if one.labels != other.labels:
        pairs = zip(one.labels, other.labels, strict=False)
        differing = next((f"{a!r} and {b!r}" for a, b in pairs if a != b), "their number")
        raise ModelError(
            f"{first} knows {len(one.labels)} classes and {second} {len(other.labels)}, and they differ ({differing}); "
            "an ensemble needs engines of the same classes in the same order"
        )
    if one.preprocessing != other.preprocessing:
        raise ModelError(
            f"{first} takes pictures of {one.preprocessing.to_values()} and {second} of "
            f"{other.preprocessing.to_values()}; an ensemble needs engines of the same preprocessing"
        )


class Ensemble:
    """Backends of the same classes and preprocessing; answers are the mean of theirs."""

    def __init__(self, members: list[Backend]) -> None:
        self.members = members
        self.name = _joined([member.name for member in members])
        self.device = _joined([member.device for member in members])
        self.precision = _joined([member.precision for member in members])
        first = members[0].metadata
        self.metadata = dataclasses.replace(
            first,
            name=_joined([member.metadata.name for member in members]),
            members=tuple(member.metadata.checkpoint_sha256 for member in members),
        )
        limits = [member.largest_batch for member in members if member.largest_batch is not None]
        self.largest_batch = min(limits, default=None)

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the mean of the members' probabilities [N, classes]."""
        return _mean([member.probabilities(pictures) for member in self.members])

    def probabilities_and_features(self, pictures: Pixels) -> tuple[Floats, Floats]:
        """Return the mean of the probabilities, and the members' last hidden layers side by side [N, crops, F].

        Raises ModelError when the members average different numbers of crops.
        """
        if len({member.metadata.crops for member in self.members}) != 1:
            raise ModelError("the engines average different numbers of crops; --features needs the same of all")
        found = [with_features(member).probabilities_and_features(pictures) for member in self.members]
        return _mean([answer for answer, _ in found]), np.concatenate([layer for _, layer in found], axis=2)

    def close(self) -> None:
        """Free every member."""
        for member in self.members:
            member.close()


def with_features(backend: object) -> FeatureBackend:
    """Return a backend as one that gives its last hidden layer; ModelError when it does not."""
    if not isinstance(backend, FeatureBackend):
        raise ModelError("a TensorRT engine gives no hidden layer; for --features give the ONNX model it was built of")
    return backend


def _mean(answers: list[Floats]) -> Floats:
    """Return the mean of several answers [N, classes], summed in float64."""
    mean: Floats = np.stack(answers).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _joined(values: list[str]) -> str:
    """Return the distinct values in their order, joined by a plus sign."""
    return " + ".join(dict.fromkeys(values))
