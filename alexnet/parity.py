"""Parity: the figures of a comparison, and the pack of pictures and answers that travels with a model.

The export writes `model.parity.safetensors` beside `model.onnx`: real pictures and the training model's own
ten-crop answers for them. Any machine can then repeat the comparison without torch: `alexnet check`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from alexnet.errors import InputError
from alexnet.files import write_bytes

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

# Largest difference of any probability that passes, by the precision of the arithmetic. Measured on a trained
# quickstart network, 500 held-out pictures and 50 photographs, each rounding as stored: float16 1.5e-3, bfloat16
# 8.1e-3. The bounds leave a factor of 2.5 to 3.3 for other networks and runtimes. Faults exceed them there: LRN's
# alpha times 5 differs by 0.59 and more, a mirrored mean by 2.2e-2 to 4.4e-2 (in bfloat16 few pictures may miss it).
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 2e-2}


@dataclass(frozen=True)
class Comparison:
    """How far a model's probabilities are from the expected ones.

    `largest` and `mean` are absolute differences of probabilities; `kl` the mean Kullback-Leibler divergence
    of the model from the expectation, in nats; `top1` and `top5` the shares of pictures whose best class
    agrees and whose five best classes agree as sets; `worst` the picture with the largest difference.
    """

    pictures: int
    largest: float
    mean: float
    kl: float
    top1: float
    top5: float
    worst: str

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    def table(self, tolerance: float) -> str:
        """Return the figures as aligned text, the largest difference beside the tolerance it must hold."""
        rows = (
            ("pictures", f"{self.pictures}"),
            ("largest difference", f"{self.largest:.2e}   (tolerance {tolerance:g})"),
            ("mean difference", f"{self.mean:.2e}"),
            ("KL divergence", f"{self.kl:.2e} nats"),
            ("top-1 agreement", f"{self.top1:.1%}"),
            ("top-5 agreement", f"{self.top5:.1%}"),
            ("worst picture", self.worst),
        )
        return "\n".join(f"  {name:<20}{value}" for name, value in rows)


def compare(expected: Floats, found: Floats, names: list[str]) -> Comparison:
    """Return the comparison of probabilities [N, classes] for the pictures `names`.

    A NaN counts as a difference of infinity, so that it can pass no tolerance.
    """
    if expected.shape != found.shape:
        raise InputError(f"the model answers {found.shape}, expected {expected.shape}: it has other classes")
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    difference = np.abs(wide - other)
    difference[~np.isfinite(other)] = np.inf
    floor = 1e-12
    divergence = (wide * np.log((wide + floor) / (np.where(np.isfinite(other), other, 0.0) + floor))).sum(axis=1)
    best = min(5, expected.shape[1])
    mine, theirs = (np.sort(np.argsort(-p, axis=1, kind="stable")[:, :best], axis=1) for p in (wide, other))
    return Comparison(
        pictures=len(names),
        largest=float(difference.max()),
        mean=float(difference.mean()),
        kl=float(max(0.0, divergence.mean())),
        top1=float((wide.argmax(axis=1) == other.argmax(axis=1)).mean()),
        top5=float((mine == theirs).all(axis=1).mean()),
        worst=names[int(difference.max(axis=1).argmax())],
    )


@dataclass(frozen=True)
class ParityPack:
    """Pictures uint8 [N, S, S, 3], the training model's ten-crop probabilities float32 [N, classes], and names.

    `checkpoint_sha256` ties the pack to the weights that answered.
    """

    pictures: Pixels
    probabilities: Floats
    names: list[str]
    checkpoint_sha256: str

    def save(self, path: Path) -> None:
        """Write the pack as safetensors, atomically."""
        header = {"names": json.dumps(self.names), "checkpoint_sha256": self.checkpoint_sha256, "format": "1"}
        tensors: dict[str, npt.NDArray[Any]] = {
            "pictures": np.ascontiguousarray(self.pictures),
            "probabilities": self.probabilities,
        }
        write_bytes(path, save(tensors, metadata=header))

    @staticmethod
    def load(path: Path) -> ParityPack:
        """Return the pack in a file; InputError when it is missing or damaged."""
        if not path.exists():
            raise InputError(f"there is no parity pack {path}; it is written by: alexnet export --onnx")
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                return ParityPack(
                    pictures=file.get_tensor("pictures"),
                    probabilities=file.get_tensor("probabilities"),
                    names=[str(name) for name in json.loads(header["names"])],
                    checkpoint_sha256=header["checkpoint_sha256"],
                )
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            raise InputError(
                f"{path} is not a whole parity pack ({error}); write it again with: alexnet export --onnx"
            ) from None


def parity_pack_beside(model: Path) -> Path:
    """Return where a model's parity pack stands: `model.parity.safetensors` beside `model.onnx` or `model.plan`."""
    return model.with_name(f"{model.stem}.parity.safetensors")
