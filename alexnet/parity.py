"""Parity: the figures of a comparison, and the pack of pictures and answers that travels with a model.

The export writes `model.parity.safetensors` beside `model.onnx`: real pictures, the training model's own answers
for them, and the output of each of its layers for the first one. Any machine can then repeat the comparison without
torch, and find the layer where a fault is: `alexnet check`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from alexnet.crops import CROPS
from alexnet.errors import InputError
from alexnet.files import write_bytes

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

# Largest difference of any probability that passes, by the precision of the arithmetic. Rounded as stored, float16
# and bfloat16 differ by 1.5e-3 and 8.1e-3 on a trained quickstart network (500 held-out pictures, 50 photographs), by
# 3.5e-3 and 3.0e-2 on random full-size ones whose logits reach 60, three times those of a trained network. On that
# quickstart network LRN's alpha times 5 differs by 0.47 and more, a mirrored mean by 2.2e-2 to 4.4e-2: bfloat16's bound
# lets the smaller of these pass, which the layers' own tolerance (`alexnet.layers`) then finds. INT8 and FP8,
# calibrated in each of four ways, differ by up to 4.6e-2 and 0.12 there, and INT8 by 0.39 and more where a CPU
# saturates; their accuracy has a gate of its own (`alexnet.calibration`).
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 4e-2, "int8": 0.25, "fp8": 0.25}


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

    A NaN on either side counts as a difference of infinity, so that it can pass no tolerance.
    """
    if expected.shape != found.shape:
        raise InputError(f"the model answers {found.shape}, expected {expected.shape}: it has other classes")
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    difference = np.abs(wide - other)
    difference[~(np.isfinite(wide) & np.isfinite(other))] = np.inf
    floor = 1e-12
    p, q = (np.where(np.isfinite(values), values, 0.0) for values in (wide, other))
    divergence = (p * np.log((p + floor) / (q + floor))).sum(axis=1)
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
    """Pictures uint8 [N, S, S, 3], the training model's probabilities float32 [N, classes] for them, and names.

    `checkpoint_sha256` ties the pack to the weights that answered. `crops`, ten or one a picture, says what the
    probabilities are an average of. `layers` are the training model's layer outputs, float32 [C, H, W] or [C], for
    the centre crop of the first picture, in the order of computation (`alexnet.train.layer_outputs`).
    """

    pictures: Pixels
    probabilities: Floats
    names: list[str]
    checkpoint_sha256: str
    crops: int = CROPS
    layers: Mapping[str, Floats] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the pack as safetensors: `pictures`, `probabilities` and a tensor `layer/NAME` for each layer."""
        header = {
            "names": json.dumps(self.names),
            "checkpoint_sha256": self.checkpoint_sha256,
            "crops": str(self.crops),
            "layers": json.dumps(list(self.layers)),
            "format": "2",
        }
        tensors: dict[str, npt.NDArray[Any]] = {"pictures": self.pictures, "probabilities": self.probabilities}
        tensors |= {f"layer/{name}": value for name, value in self.layers.items()}
        return save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata=header)

    def save(self, path: Path) -> None:
        """Write the pack, atomically."""
        write_bytes(path, self.to_bytes())

    @staticmethod
    def load(path: Path) -> ParityPack:
        """Return the pack in a file; InputError when it is missing or damaged."""
        if not path.exists():
            raise InputError(f"there is no parity pack {path}; it is written by: alexnet export --onnx")
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                pack = ParityPack(
                    pictures=file.get_tensor("pictures"),
                    probabilities=file.get_tensor("probabilities"),
                    names=[str(name) for name in json.loads(header["names"])],
                    checkpoint_sha256=header["checkpoint_sha256"],
                    crops=int(header["crops"]),
                    layers={str(name): file.get_tensor(f"layer/{name}") for name in json.loads(header["layers"])},
                )
            pack.validate()
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            raise InputError(
                f"{path} is not a whole parity pack ({error}); write it again with: alexnet export --onnx"
            ) from None
        return pack

    def validate(self) -> None:
        """Raise ValueError, naming it, for a tensor of another type or shape than those above."""
        number, shape = len(self.names), self.pictures.shape
        if self.pictures.dtype != np.uint8 or len(shape) != 4 or shape != (number, shape[1], shape[1], 3) or not number:
            raise ValueError(f"pictures {self.pictures.dtype} {shape} of {number} names")
        if self.probabilities.dtype != np.float32 or self.probabilities.shape[:-1] != (number,):
            raise ValueError(f"probabilities {self.probabilities.dtype} {self.probabilities.shape}")
        if self.crops not in (1, CROPS):
            raise ValueError(f"{self.crops} crops a picture")
        for name, value in self.layers.items():
            if value.dtype != np.float32 or value.ndim not in (1, 3):
                raise ValueError(f"layer {name} {value.dtype} {value.shape}")


def parity_pack_beside(model: Path) -> Path:
    """Return where a model's parity pack stands: `model.parity.safetensors` beside `model.onnx` or `model.plan`."""
    return model.with_name(f"{model.stem}.parity.safetensors")


def report_beside(model: Path) -> Path:
    """Return where the readable report of a model's proof stands: `model.proof.md` beside `model.onnx`."""
    return model.with_name(f"{model.stem}.proof.md")
