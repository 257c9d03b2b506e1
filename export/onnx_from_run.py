"""From a run to `model.onnx` and its parity pack: built, proven, then written, or nothing is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import helper

from alexnet import __version__
from alexnet.architecture import layer_table
from alexnet.errors import InputError, ParityError
from alexnet.export.graph import GraphSource, onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.proof import prove
from alexnet.files import atomic_write
from alexnet.metadata import ModelMetadata
from alexnet.parity import TOLERANCE, Comparison, ParityPack, parity_pack_beside
from alexnet.pictures import Preprocessing, find_pictures, load_picture
from alexnet.recipe import Recipe
from alexnet.recipe_file import recipe_to_values
from alexnet.run import Run
from alexnet.train.checkpoint import load_checkpoint, load_weights
from alexnet.train.data.statistics import Statistics
from alexnet.train.evaluate import ten_crop_probabilities
from alexnet.train.network import Network, numpy_weights
from alexnet.train.samples import load_samples

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and the figures of its proof."""

    model: Path
    pack: Path
    comparison: Comparison
    tolerance: float
    nodes: int


@dataclass(frozen=True)
class Source:
    """A network to export: what it was trained as, its mean, its labels, and the digest of its weights."""

    network: Network
    recipe: Recipe
    labels: tuple[str, ...]
    mean: npt.NDArray[np.float32]
    checkpoint_sha256: str

    def numbers(self) -> GraphSource:
        """Return the network as the graph's builder takes it, free of torch."""
        weights = numpy_weights(self.network)
        return GraphSource(self.network.architecture, weights, self.mean, self.recipe.data.divisor)


def source_from_run(run: Run, best: bool = False) -> Source:
    """Return what a run trained last, or its `best` by validation error; InputError or TrainingError when not whole."""
    recipe = run.recipe()
    statistics = Statistics.load(run.statistics_path)
    side = recipe.data.picture
    if statistics.mean.shape != (side, side, 3):
        raise InputError(
            f"{run.statistics_path} holds a mean of {statistics.mean.shape}, the recipe expects "
            f"{(side, side, 3)}; train again"
        )
    labels, network = run.labels(), Network(layer_table(recipe.network))
    if len(labels) != network.architecture.classes:
        raise InputError(
            f"{run.labels_path} names {len(labels)} classes, the recipe has {network.architecture.classes}; "
            "restore the file or train again"
        )
    # Weights and digest from one reading: training may write its next checkpoint meanwhile.
    checkpoint = load_checkpoint(run, best)
    load_weights(network, checkpoint, run)
    return Source(network.eval(), recipe, labels, statistics.mean, checkpoint.state.sha256)


def pictures_for_proof(run: Run, folder: Path | None) -> tuple[Pixels, list[str]]:
    """Return pictures uint8 [P, S, S, 3] and their names: the run's own samples, or those under `folder`.

    Names are relative to the folder: they travel with the model, and the machine's own paths should not.
    """
    if folder is None:
        samples = load_samples(run)
        return samples.pictures, samples.names
    files = list(find_pictures([folder]))
    preprocessing = Preprocessing.of(run.recipe().data)
    names = [file.relative_to(folder).as_posix() if folder.is_dir() else file.name for file in files]
    return np.stack([load_picture(file, preprocessing) for file in files]), names


def export_onnx(
    source: Source, pictures: Pixels, names: list[str], out: Path, options: ExportOptions | None = None
) -> Exported:
    """Write `out` and its parity pack beside it; ParityError, with nothing written, when the proof fails.

    `pictures` is uint8 [P, S, S, 3], real ones. The pack takes its place before the model, which replaces an
    older one only when everything has held. Raises InputError for pictures of another size than the mean.
    """
    if pictures.shape != (len(names), *source.mean.shape) or not names:
        raise InputError(
            f"the pictures for the proof are {pictures.shape}, expected {(len(names), *source.mean.shape)}, one at "
            "least; prove the export on a folder of pictures with: alexnet export RUN --onnx --pictures DIR"
        )
    options = options or ExportOptions()
    tolerance = TOLERANCE[options.precision]
    expected = ten_crop_probabilities(source.network, pictures, source.mean, divisor=source.recipe.data.divisor)
    if not np.isfinite(expected).all():
        raise ParityError("the training model itself answers NaN; train again with a lower learning rate")
    model = onnx_model([source.numbers()], options)
    comparison = prove(model, pictures, expected, names, tolerance)
    metadata = ModelMetadata(
        name=source.recipe.name,
        labels=source.labels,
        preprocessing=Preprocessing.of(source.recipe.data),
        crop=source.network.architecture.crop,
        crops=10 if options.crops == "ten" else 1,
        input=options.input,
        mean_sha256=hashlib.sha256(np.ascontiguousarray(source.mean, dtype="<f4").tobytes()).hexdigest(),
        recipe=recipe_to_values(source.recipe),
        checkpoint_sha256=source.checkpoint_sha256,
        toolchain_version=__version__,
        lrn=options.lrn,
        stem=options.stem,
        precision=options.precision,
        parity={**comparison.to_values(), "tolerance": tolerance, "runtime": "onnxruntime"},
    )
    helper.set_model_props(model, metadata.to_properties())
    pack = parity_pack_beside(out)
    with atomic_write(out) as file:
        file.write(model.SerializeToString())
        # The model is on disk and has only to be renamed: a full disk cannot leave a new pack beside an old model.
        file.flush()
        ParityPack(pictures, expected, names, source.checkpoint_sha256).save(pack)
    return Exported(out, pack, comparison, tolerance, len(model.graph.node))
