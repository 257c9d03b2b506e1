"""The parity check: a model's answers against those of the training model, from the parity pack, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet.errors import InputError, ModelError, ParityError
from alexnet.parity import TOLERANCE, Comparison, ParityPack, compare, parity_pack_beside
from alexnet.runtime.backends import Backend, open_backend
from alexnet.runtime.classify import DEFAULT_BATCH


@dataclass(frozen=True)
class Check:
    """A parity check that held: its figures, the tolerance, and the backend that answered."""

    comparison: Comparison
    tolerance: float
    backend: Backend
    pack: Path


def check_model(path: Path, pack_path: Path | None = None) -> Check:
    """Run the pictures of a parity pack through a model and hold its answers against the expected ones.

    The pack is the one beside the model unless another is given. Raises ParityError when any probability differs
    by more than the tolerance of the model's precision, ModelError when pack and model come from different weights.
    """
    pack_path = pack_path or parity_pack_beside(path)
    backend = open_backend(path)
    pack = ParityPack.load(pack_path)
    metadata = backend.metadata
    if pack.checkpoint_sha256 != metadata.checkpoint_sha256:
        raise ModelError(
            f"{pack_path} was made from checkpoint {pack.checkpoint_sha256[:12]}..., {path} from "
            f"{metadata.checkpoint_sha256[:12]}...; write both again with: alexnet export --onnx"
        )
    side = metadata.preprocessing.side
    if pack.pictures.dtype != np.uint8 or pack.pictures.shape != (len(pack.names), side, side, 3) or not pack.names:
        raise InputError(
            f"{pack_path} holds pictures {pack.pictures.dtype} {pack.pictures.shape}, {path} takes "
            f"uint8 [N, {side}, {side}, 3]; write both again with: alexnet export --onnx"
        )
    tolerance = TOLERANCE.get(metadata.precision)
    if tolerance is None:
        raise ModelError(f"{path} says its precision is {metadata.precision!r}, expected one of {', '.join(TOLERANCE)}")
    size = min(DEFAULT_BATCH, backend.largest_batch or DEFAULT_BATCH)
    parts = [backend.probabilities(pack.pictures[first : first + size]) for first in range(0, len(pack.names), size)]
    comparison = compare(pack.probabilities, np.concatenate(parts), pack.names)
    if not comparison.largest <= tolerance:
        raise ParityError(
            f"{path} differs from the training model by {comparison.largest:.2g} in a probability of "
            f"{comparison.worst}, expected at most {tolerance:g} ({comparison.top1:.1%} of {comparison.pictures} "
            "pictures keep their best class); do not use it, write it again with: alexnet export --onnx"
        )
    return Check(comparison, tolerance, backend, pack_path)
