"""Held-out pictures that a run keeps, so that its proof of parity needs nothing from outside the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from alexnet.errors import InputError
from alexnet.files import write_bytes
from alexnet.run import Run

NUMBER = 32


@dataclass(frozen=True)
class Samples:
    """Pictures uint8 [P, S, S, 3] as training prepared them, their file names, and their true labels [P]."""

    pictures: npt.NDArray[np.uint8]
    names: list[str]
    labels: npt.NDArray[np.int64]


def spread_indices(number: int, wanted: int = NUMBER) -> list[int]:
    """Return up to `wanted` indices spread evenly over `number` items, so that sorted classes all appear."""
    return sorted({round(place) for place in np.linspace(0, number - 1, min(wanted, number))}) if number else []


def save_samples(run: Run, samples: Samples) -> None:
    """Write the run's samples, atomically."""
    header = {"names": json.dumps(samples.names)}
    tensors: dict[str, npt.NDArray[Any]] = {
        "pictures": np.ascontiguousarray(samples.pictures),
        "labels": samples.labels,
    }
    write_bytes(run.samples_path, save(tensors, metadata=header))


def load_samples(run: Run) -> Samples:
    """Return the run's samples; InputError when they are missing or damaged."""
    try:
        with safe_open(run.samples_path, framework="numpy") as file:
            names = [str(name) for name in json.loads((file.metadata() or {})["names"])]
            return Samples(file.get_tensor("pictures"), names, file.get_tensor("labels"))
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(
            f"{run.samples_path} does not hold the run's sample pictures ({error}); "
            "prove the export on a folder of pictures with: alexnet export RUN --onnx --pictures DIR"
        ) from None
