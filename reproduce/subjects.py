"""What a comparison compares: a run, an ONNX model or a plan, asked in one way. Only a run imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from alexnet.crops import CROPS
from alexnet.errors import missing_package
from alexnet.pictures import Preprocessing
from alexnet.run import Run
from alexnet.runtime.backends import open_backend
from alexnet.runtime.check import answers
from alexnet.runtime.layers import LayerOutputs, layers_of_file

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Subject(Protocol):
    """A run or a model file with what two of them must agree in.

    `what` says what answers, on what; `crops` is the number of crops a picture, None where any is possible;
    `precision` the type of the arithmetic; `checkpoint_sha256` the digest of the weights.
    """

    path: Path
    what: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    crops: int | None
    precision: str
    checkpoint_sha256: str

    def probabilities(self, pictures: Pixels, crops: int) -> Floats:
        """Return the probabilities [P, classes] of pictures [P, S, S, 3], each from `crops` crops."""
        ...

    def layers(self, picture: Pixels) -> LayerOutputs:
        """Return the layer outputs for the centre crop of a picture [S, S, 3]."""
        ...


class ModelSubject:
    """A .onnx or .plan, opened by its backend."""

    crops: int | None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.backend = open_backend(path)
        self.metadata = self.backend.metadata
        self.what = f"{self.backend.name} on {self.backend.device}, {self.metadata.precision}"
        self.labels = self.metadata.labels
        self.preprocessing = self.metadata.preprocessing
        self.crops = self.metadata.crops
        self.precision = self.metadata.precision
        self.checkpoint_sha256 = self.metadata.checkpoint_sha256

    def probabilities(self, pictures: Pixels, crops: int) -> Floats:
        """Return the model's answers; its crops are part of it."""
        return answers(self.backend, pictures)

    def layers(self, picture: Pixels) -> LayerOutputs:
        """Return the layers that the file shows."""
        return layers_of_file(self.path, self.metadata, picture)


class RunSubject:
    """A run directory: its current checkpoint in the training network, by torch in float32."""

    crops: int | None = None
    precision = "fp32"

    def __init__(self, path: Path) -> None:
        try:
            import torch
        except ImportError:
            raise missing_package("torch", "train", "comparing a run") from None
        from alexnet.export.source import source_from_run

        self.path = path
        self.run = Run(path)
        self.source = source_from_run(self.run)
        self.what = f"torch {torch.__version__} on CPU, fp32"
        self.labels = self.source.labels
        self.preprocessing = Preprocessing.of(self.source.recipe.data)
        self.checkpoint_sha256 = self.source.checkpoint_sha256

    @cached_property
    def samples(self) -> tuple[Pixels, list[str]]:
        """The run's own held-out pictures and their names."""
        from alexnet.train.samples import load_samples

        found = load_samples(self.run)
        return found.pictures, found.names

    def probabilities(self, pictures: Pixels, crops: int) -> Floats:
        """Return the network's answers from the centre crop or from ten."""
        from alexnet.train.evaluate import centre_probabilities, ten_crop_probabilities

        network, mean, divisor = self.source.network, self.source.mean, self.source.recipe.data.divisor
        if crops == CROPS:
            return ten_crop_probabilities(network, pictures, mean, divisor=divisor)
        return np.concatenate([part.numpy() for part in centre_probabilities(network, pictures, mean, divisor=divisor)])

    def layers(self, picture: Pixels) -> LayerOutputs:
        """Return the layers of the training network."""
        from alexnet.train.layer_outputs import centre_crop, layer_outputs

        source = self.source
        crop = centre_crop(picture, source.mean, source.network.architecture.crop)
        outputs: Mapping[str, Floats] = layer_outputs(source.network, crop, source.recipe.data.divisor)
        return LayerOutputs(outputs)


def open_subject(path: Path) -> ModelSubject | RunSubject:
    """Return the run or the model file at a path; InputError or ModelError when it is neither."""
    return RunSubject(path) if path.is_dir() else ModelSubject(path)
