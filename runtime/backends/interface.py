"""What every backend is and takes: the protocol, the options, and the error of a device that ran out of memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from alexnet.errors import DeviceError
from alexnet.metadata import ModelMetadata
from alexnet.recipe import Resize

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


@runtime_checkable
class FeatureBackend(Protocol):
    """A backend that was opened with `BackendOptions.features`."""

    def probabilities_and_features(self, pictures: Pixels) -> tuple[Floats, Floats]:
        """Return the probabilities [N, classes] and the last hidden layer's outputs [N, crops, F]."""
        ...


@runtime_checkable
class StagedBackend(Protocol):
    """A backend that can tell the copies to and from its device from the model."""

    def stages(self, pictures: Pixels) -> tuple[float, float, float] | None:
        """Return the seconds of one batch's upload, model and download; None where nothing is copied."""
        ...


class OutOfMemory(DeviceError):
    """The device has no room for a batch; a smaller one may fit."""


@dataclass(frozen=True)
class BackendOptions:
    """How a model is to be opened; the default is the best backend that is usable here, all cores, and no exceptions.

    `name` is a row of the table; `gpu` the number of the GPU; `precision` the type of the arithmetic where the backend
    can choose it (fp32, bf16, fp16), None for what the model says; `threads` those of a CPU, None for all cores;
    `hint` what a CPU is tuned for, one batch at a time or several together; `allow_cpu` accepts the CPU where a
    GPU was asked for; `trust` accepts a plan without a sidecar, whose labels and preprocessing are then those of the
    ONNX model `like`, or the class names in the file `labels`, pictures of `side` pixels and the rule `resize`;
    `features` makes the last hidden layer an output; `cache` is a folder for what is compiled.
    """

    name: str | None = None
    gpu: int = 0
    precision: str | None = None
    threads: int | None = None
    hint: Literal["latency", "throughput"] = "latency"
    allow_cpu: bool = False
    trust: bool = False
    like: Path | None = None
    labels: Path | None = None
    side: int = 256
    resize: Resize = "shorter"
    features: bool = False
    cache: Path | None = None
