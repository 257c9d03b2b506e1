"""From `model.onnx` and labelled pictures to a quantised model whose accuracy was measured, or to nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.external_data_helper import load_external_data_for_model

from alexnet.calibration.gate import Accuracy, accuracy, probabilities
from alexnet.calibration.layers import QuantisedNode, kept_layers, layers_of, quantisable, tensors_of
from alexnet.calibration.pictures import Chosen, DataParts, choose, open_parts
from alexnet.calibration.quantise import QuantiseOptions, quantise
from alexnet.calibration.sensitivity import LayerCost, ranked
from alexnet.calibration.speed import seconds_in_turns
from alexnet.calibration.statistics import collect
from alexnet.calibration.thresholds import METHODS, Method, threshold
from alexnet.cpu_session import cpu_session
from alexnet.errors import AccuracyError, ModelError
from alexnet.export.onnx_files import SINGLE_FILE_LIMIT
from alexnet.external import check_external_data, external_tensors, load_model
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack, parity_pack_beside
from alexnet.progress import Count

Floats = npt.NDArray[np.float32]
Progress = Callable[[str], AbstractContextManager[Count]]
# Calibration pictures that rank the layers, and those of a batch that is timed.
RANKING, TIMED = 64, 4


@dataclass(frozen=True)
class CalibrateOptions:
    """How a model is quantised, and how much worse it may get.

    `max_drop` is in points of top-1 accuracy; `keep` names layers that stay in float, and with `auto` the dearest ones
    are added until the drop is allowed. `pictures` calibrate at most, drawn with `seed`. `rank` asks for the cost of
    every layer in any case.
    """

    quantise: QuantiseOptions = field(default_factory=QuantiseOptions)
    method: Method = "mse"
    max_drop: float = 0.5
    keep: tuple[str, ...] = ()
    auto: bool = False
    pictures: int = 512
    seed: int = 1
    rank: bool = False


@dataclass(frozen=True)
class FloatModel:
    """The float32 model that is quantised, its weights in memory, with its metadata and its parity pack."""

    path: Path
    proto: onnx.ModelProto
    metadata: ModelMetadata
    pack: ParityPack
    bytes: int


@dataclass(frozen=True)
class Quantised:
    """A quantised model that passed the gate, and what was found on the way.

    `seconds` are medians for a batch of `timed` pictures in ONNX Runtime, taken in turns, by `float32`, `all` and
    `kept`; empty unless --auto had to keep layers. `warnings` are for whoever ships the model.
    """

    proto: onnx.ModelProto
    accuracy: Accuracy
    first: Accuracy
    kept: tuple[str, ...]
    thresholds: dict[str, float]
    costs: tuple[LayerCost, ...]
    seconds: dict[str, float]
    chosen: Chosen
    warnings: tuple[str, ...]


def open_float_model(path: Path) -> FloatModel:
    """Return an exported float32 model; ModelError for another precision, InputError without its parity pack."""
    proto = load_model(path)
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, str(path))
    if metadata.precision != "fp32":
        raise ModelError(
            f"{path} is in {metadata.precision}, only float32 models are quantised; export one with: "
            "alexnet export --onnx --precision fp32"
        )
    files = check_external_data(proto, path)
    size = path.stat().st_size + sum(file.stat().st_size for file in files)
    if size > SINGLE_FILE_LIMIT:
        raise ModelError(
            f"{path} has {size / 1e9:.1f} GB of weights, and {SINGLE_FILE_LIMIT / 1e9:.1f} GB can be quantised at "
            "once; export and calibrate its networks one by one"
        )
    if external_tensors(proto):
        load_external_data_for_model(proto, str(path.parent))
    pack = ParityPack.load(parity_pack_beside(path))
    if pack.checkpoint_sha256 != metadata.checkpoint_sha256:
        raise ModelError(
            f"{parity_pack_beside(path)} was made from checkpoint {pack.checkpoint_sha256[:12]}..., {path} from "
            f"{metadata.checkpoint_sha256[:12]}...; write both again with: alexnet export --onnx"
        )
    return FloatModel(path, proto, metadata, pack, size)


def quantise_model(
    model: FloatModel, data: Path, options: CalibrateOptions, progress: Progress, say: Callable[[str], None]
) -> Quantised:
    """Calibrate a model on the training part of `data` and measure it on the validation part.

    Raises AccuracyError when its top-1 accuracy drops by more than `options.max_drop`, and InputError for data of
    other classes or a layer that is not there.
    """
    parts = open_parts(data, model.metadata, model.path)
    nodes = quantisable(model.proto)
    kept = kept_layers(nodes, options.keep)
    chosen = choose(parts, model.metadata.labels, options.pictures, options.seed)
    for warning in chosen.warnings:
        say(f"warning: {warning}")
    trial = _Trial(model, parts, nodes, chosen, options, progress)
    costs: list[LayerCost] = trial.costs() if options.rank else []
    proto, found = trial.measured(kept)
    first, all_kept, all_quantised = found, kept, proto
    while found.top1.drop > options.max_drop:
        costs = costs or (trial.costs() if options.auto else [])
        dearest = next((cost.layer for cost in costs if cost.layer not in kept), None) if options.auto else None
        if dearest is None or len(kept) + 1 >= len(layers_of(nodes)):
            raise _refusal(found, options, sorted(kept))
        kept = kept | {dearest}
        say(f"top-1 drops by {found.top1.drop:+.2f} points: {dearest} stays in float")
        proto, found = trial.measured(kept)
    seconds = {} if kept == all_kept else trial.seconds({"all": all_quantised, "kept": proto})
    order = tuple(layer for layer in layers_of(nodes) if layer in kept)
    warnings = (*chosen.warnings, *_doubts(found, options))
    for warning in warnings[len(chosen.warnings) :]:
        say(f"warning: {warning}")
    return Quantised(proto, found, first, order, trial.thresholds, tuple(costs), seconds, chosen, warnings)


class _Trial:
    """One model, its thresholds and its float32 answers, against which every choice of layers is measured."""

    def __init__(
        self,
        model: FloatModel,
        parts: DataParts,
        nodes: Sequence[QuantisedNode],
        chosen: Chosen,
        options: CalibrateOptions,
        progress: Progress,
    ) -> None:
        self.model, self.parts, self.nodes, self.chosen = model, parts, nodes, chosen
        self.options, self.progress = options, progress
        with progress("calibrating") as count:
            histograms = collect(model.proto, model.metadata, tensors_of(nodes), chosen.places, parts.train.read, count)
        form = options.quantise.format
        with progress("finding thresholds") as count:
            self.thresholds = {}
            for place, (name, histogram) in enumerate(histograms.items(), start=1):
                self.thresholds[name] = threshold(histogram, options.method, form)
                count(place, len(histograms))
        self.session = cpu_session(model.proto)
        self.held_out = list(range(len(parts.val)))
        with progress("measuring float32") as count:
            self.expected = probabilities(self.session, model.metadata, parts.val, self.held_out, count)

    def quantised(self, kept: frozenset[str]) -> onnx.ModelProto:
        """Return the model with all layers quantised but those in `kept`."""
        return quantise(self.model.proto, self.nodes, self.thresholds, self.options.quantise, kept)

    def measured(self, kept: frozenset[str]) -> tuple[onnx.ModelProto, Accuracy]:
        """Return a quantised model and its accuracy on the validation part."""
        proto = self.quantised(kept)
        with self.progress(f"measuring {self.options.quantise.format}") as count:
            found = probabilities(cpu_session(proto), self.model.metadata, self.parts.val, self.held_out, count)
        return proto, accuracy(self.expected, found, self.parts.val.labels)

    def costs(self) -> list[LayerCost]:
        """Return what each layer costs on some of the calibration pictures, dearest first."""
        places = self.chosen.places[:: max(1, len(self.chosen.places) // RANKING)][:RANKING]
        layers = layers_of(self.nodes)

        def answers(session: Any) -> Floats:
            return probabilities(session, self.model.metadata, self.parts.train, places, lambda done, total: None)

        def alone(layer: str) -> Floats:
            return answers(cpu_session(self.quantised(frozenset(layers) - {layer})))

        with self.progress("one layer at a time") as count:
            return ranked(layers, answers(self.session), alone, count)

    def seconds(self, protos: dict[str, onnx.ModelProto]) -> dict[str, float]:
        """Return the seconds that models and the float32 one take for a batch."""
        metadata = self.model.metadata
        places = [place % len(self.held_out) for place in range(metadata.batch or TIMED)]
        sessions = {"float32": self.session, **{name: cpu_session(proto) for name, proto in protos.items()}}
        return seconds_in_turns(sessions, metadata.fed(self.parts.val.read(places)))


def _refusal(found: Accuracy, options: CalibrateOptions, kept: Sequence[str]) -> AccuracyError:
    """Return the error of a model that got worse by more than is allowed."""
    top1, form = found.top1, options.quantise.format
    low, high = top1.interval
    others = ", ".join(method for method in METHODS if method != options.method)
    change = f"give another --method ({others}), more --pictures, or a larger --max-drop"
    if not options.auto:
        change = f"keep the dearest layers in float with --auto, or {change}"
    without = f" with {', '.join(kept)} in float" if kept else ""
    return AccuracyError(
        f"{form}{without} classifies {top1.after:.2%} of {top1.pictures} validation pictures rightly, float32 "
        f"{top1.before:.2%}: a drop of {top1.drop:.2f} points (95 % interval {low:+.2f} to {high:+.2f}), allowed are "
        f"{options.max_drop:g}; no model was written: {change}"
    )


def _doubts(found: Accuracy, options: CalibrateOptions) -> list[str]:
    """Return a warning where the validation part is too small to exclude a drop that is not allowed."""
    high = found.top1.interval[1]
    if high <= options.max_drop:
        return []
    return [
        f"the drop's 95 % interval reaches {high:+.2f} points, past the {options.max_drop:g} that are allowed: "
        f"{found.top1.pictures} validation pictures cannot exclude it; measure on more"
    ]
