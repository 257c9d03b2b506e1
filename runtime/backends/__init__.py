"""The backends: one small interface, and one table from which the command line and the doctor are made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from alexnet.errors import InputError, ModelError, missing_package
from alexnet.metadata import ModelMetadata

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Backend(Protocol):
    """A loaded model: pictures uint8 [N, S, S, 3] in, probabilities float32 [N, classes] out.

    `name` is the backend's, `device` what it runs on, `precision` the type of its arithmetic; `largest_batch` is
    the most pictures it takes at once, None for no limit.
    """

    name: str
    device: str
    precision: str
    metadata: ModelMetadata
    largest_batch: int | None

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the average of the ten crops' softmax outputs of each picture."""
        ...

    def close(self) -> None:
        """Give back the device's memory; the backend cannot be used afterwards."""
        ...


@dataclass(frozen=True)
class BackendInfo:
    """One row of the table: the file suffix that selects it, what it runs on, and what has to be installed.

    `opener` is `module:function` of (path, threads) -> Backend, imported only when it is used.
    """

    name: str
    suffix: str
    device: str
    extras: tuple[str, ...]
    packages: tuple[str, ...]
    opener: str


BACKENDS = (
    BackendInfo(
        "onnxruntime",
        ".onnx",
        "CPU",
        ("cpu",),
        ("onnxruntime",),
        "alexnet.runtime.backends.onnxruntime_cpu:open_model",
    ),
    BackendInfo(
        "tensorrt",
        ".plan",
        "NVIDIA GPU",
        ("gpu", "rtx"),
        ("tensorrt or tensorrt-rtx", "cuda-python"),
        "alexnet.runtime.backends.tensorrt:open_engine",
    ),
)


def open_backend(path: Path, threads: int | None = None) -> Backend:
    """Return the model in `path`, loaded by the backend of its suffix; `threads` counts on a CPU.

    Raises InputError for a missing file, ModelError for a suffix or a file that no backend reads, and what the
    backend itself raises (MissingPackageError, DeviceError, SidecarError).
    """
    if not path.is_file():
        what = "is a folder, not a model" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; write one with: alexnet export --onnx, or alexnet build model.onnx")
    for info in BACKENDS:
        if path.suffix.lower() == info.suffix:
            return _opener(info)(path, threads)
    known = ", ".join(f"{info.suffix} ({info.name})" for info in BACKENDS)
    raise ModelError(f"{path} is no model by its suffix, expected {known}; write one with: alexnet export --onnx")


def _opener(info: BackendInfo) -> Callable[[Path, int | None], Backend]:
    """Import and return a backend's opener; MissingPackageError when what it runs on is not installed."""
    module, function = info.opener.split(":")
    try:
        opener: Callable[[Path, int | None], Backend] = getattr(importlib.import_module(module), function)
    except ImportError:
        raise missing_package(info.packages[0], info.extras[0], f"the backend {info.name}") from None
    return opener
