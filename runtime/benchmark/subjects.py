"""What is timed: every model in every backend that reads it, opened once, with pictures to run and a reference."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alexnet.architecture import Architecture, layer_table
from alexnet.errors import AlexNetError, InputError, ModelError
from alexnet.external import check_external_data, load_model
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack, compare, parity_pack_beside
from alexnet.pictures import load_picture
from alexnet.recipe_file import recipe_from_values
from alexnet.runtime.backends import BACKENDS, Backend, BackendOptions, Floats, Pixels, open_backend
from alexnet.runtime.backends.table import CPU, missing
from alexnet.runtime.benchmark.results import Agreement, ModelFacts
from alexnet.runtime.benchmark.timing import reason
from alexnet.runtime.check import answers
from alexnet.stem import stem_shares

# Pictures that the answers are compared on where there is no parity pack.
COMPARED = 8


@dataclass
class Opened:
    """A model in a backend, or the `error` that says why it is not; `pictures` are [P, S, S, 3] of its own size."""

    path: Path
    name: str
    backend: Backend | None = None
    pictures: Pixels | None = None
    error: str | None = None

    def batch(self, size: int) -> Pixels:
        """Return `size` pictures, repeated where there are fewer."""
        assert self.pictures is not None
        return np.ascontiguousarray(self.pictures[np.arange(size) % len(self.pictures)])

    def run(self, size: int) -> Callable[[], object]:
        """Return what runs one batch of a size."""
        assert self.backend is not None
        backend, pictures = self.backend, self.batch(size)
        return lambda: backend.probabilities(pictures)

    def run_in_flight(self, size: int) -> tuple[Callable[[], object], int]:
        """Return what runs batches side by side as `alexnet infer` does, and their number."""
        assert self.backend is not None
        backend, pictures, at_once = self.backend, self.batch(size), getattr(self.backend, "in_flight", 1)
        pool = ThreadPoolExecutor(at_once)
        return lambda: list(pool.map(backend.probabilities, [pictures] * (4 * at_once))), 4 * at_once


def backends_for(path: Path, asked: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Return the backends to measure a model in, and of those left out the reason.

    They are those `asked` for, whether usable or not, or all that read the suffix and are usable here. Raises
    InputError for a missing file and ModelError for a suffix that none reads.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file; write a model with: alexnet export --onnx")
    readers = [info for info in BACKENDS if path.suffix.lower() in info.suffixes]
    if not readers:
        known = ", ".join(dict.fromkeys(suffix for info in BACKENDS for suffix in info.suffixes))
        raise ModelError(f"{path} is no model by its suffix, expected {known}; write one with: alexnet export --onnx")
    if asked:
        return list(asked), {}
    absent = {info.name: why for info in readers if (why := missing(info))}
    usable = [info.name for info in readers if info.name not in absent]
    if not usable:
        usable = [info.name for info in readers if info.device == CPU] or [readers[0].name]
    return usable, absent


def opened(path: Path, name: str, options: BackendOptions, images: list[Path]) -> Opened:
    """Return a model in a backend with pictures; whatever stands in the way becomes its error."""
    try:
        backend = open_backend(path, replace(options, name=name))
        return Opened(path, name, backend, pictures_for(path, backend.metadata, images))
    except Exception as error:
        return Opened(path, name, error=reason(error))


def pictures_for(path: Path, metadata: ModelMetadata, images: list[Path]) -> Pixels:
    """Return the `images`, or else the pictures of the model's parity pack, or else random ones."""
    if images:
        decoded = []
        for image in images:
            with suppress(AlexNetError):
                decoded.append(load_picture(image, metadata.preprocessing))
        if not decoded:
            raise InputError(f"none of the first {len(images)} pictures can be decoded; give a folder of pictures")
        return np.stack(decoded)
    if pack := fitting_pack(path, metadata):
        return pack.pictures
    side = metadata.preprocessing.side
    return np.random.default_rng(0).integers(0, 256, (COMPARED, side, side, 3), dtype=np.uint8)


def fitting_pack(path: Path, metadata: ModelMetadata) -> ParityPack | None:
    """Return the parity pack beside a model when it was made from the same weights, crops and size."""
    try:
        pack = ParityPack.load(parity_pack_beside(path))
    except InputError:
        return None
    side = metadata.preprocessing.side
    same = (pack.checkpoint_sha256, pack.crops) == (metadata.checkpoint_sha256, metadata.crops)
    return pack if same and pack.pictures.shape[1:] == (side, side, 3) else None


class Reference:
    """The answers that every backend of a model is held against, found once."""

    def __init__(self, options: BackendOptions) -> None:
        self.options = BackendOptions(name="onnxruntime-cpu", threads=options.threads)
        self.found: dict[Path, tuple[str, Pixels, Floats] | None] = {}

    def agreement(self, one: Opened) -> Agreement | None:
        """Return how far a backend is from the training model's answers in the pack, or from ONNX Runtime's on the CPU.

        None where there is neither, or the backend fails.
        """
        assert one.backend is not None and one.pictures is not None
        if one.path not in self.found:
            self.found[one.path] = self._reference(one.path, one.backend.metadata, one.pictures[:COMPARED])
        if (reference := self.found[one.path]) is None:
            return None
        name, pictures, expected = reference
        try:
            found = compare(expected, answers(one.backend, pictures), [""] * len(pictures))
        except AlexNetError:
            return None
        return Agreement(name, found.pictures, found.largest, found.top1)

    def _reference(self, path: Path, metadata: ModelMetadata, pictures: Pixels) -> tuple[str, Pixels, Floats] | None:
        """Return the reference's name, its pictures and its answers."""
        if pack := fitting_pack(path, metadata):
            return "training model, by the parity pack", pack.pictures, pack.probabilities
        if path.suffix.lower() != ".onnx":
            return None
        try:
            backend = open_backend(path, self.options)
            try:
                return "onnxruntime-cpu", pictures, answers(backend, pictures)
            finally:
                backend.close()
        except AlexNetError:
            return None


def facts(path: Path, metadata: ModelMetadata | None) -> ModelFacts:
    """Return a file's bytes, its external weights among them, and its form in words."""
    size = path.stat().st_size
    if path.suffix.lower() == ".onnx":
        with suppress(AlexNetError):
            size += sum(file.stat().st_size for file in check_external_data(load_model(path), path))
    if metadata is None:
        return ModelFacts(path, size, "")
    crops = "one crop" if metadata.crops == 1 else f"{metadata.crops} crops"
    return ModelFacts(path, size, f"{metadata.precision}, {crops}, lrn {metadata.lrn}, stem {metadata.stem}")


def networks(metadata: ModelMetadata) -> list[Architecture]:
    """Return the layer tables of a model's networks; none where its recipe does not describe it."""
    recipes = metadata.recipe.get("members", [metadata.recipe])
    try:
        found = [layer_table(recipe_from_values(recipe).network) for recipe in recipes if recipe]
    except (AlexNetError, TypeError, AttributeError):
        return []
    fits = all(network.classes == len(metadata.labels) and network.crop == metadata.crop for network in found)
    return found if fits else []


def operations(metadata: ModelMetadata) -> float:
    """Return the multiplications and additions of one picture, 0 where the recipe does not describe the model.

    Those of the layer table's convolutions and matrices; of the layers that crops share there are fewer positions.
    """
    total = 0.0
    for network in networks(metadata):
        shares = stem_shares(network, metadata.preprocessing.side, metadata.crops, metadata.stem)
        macs = sum(shares.get(row.layer.name, 1.0) * row.macs for row in network.rows())
        total += 2.0 * metadata.crops * macs
    return total
