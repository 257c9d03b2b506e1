"""What the training models answer: the expectation that an export is held against, and that travels in the pack."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alexnet import __version__
from alexnet.crops import CROPS
from alexnet.errors import ModelError, ParityError
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack
from alexnet.pictures import Preprocessing
from alexnet.recipe_file import recipe_to_values
from alexnet.train.evaluate import centre_probabilities, ten_crop_probabilities
from alexnet.train.layer_outputs import centre_crop, layer_outputs

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def expected_pack(sources: Sequence[Source], pictures: Pixels, names: list[str], options: ExportOptions) -> ParityPack:
    """Return the pack of pictures uint8 [P, S, S, 3] with the training models' mean answer and their layer outputs.

    The layers are those of the first picture's centre crop; each of several networks' has the prefix net1/, net2/.
    Raises ParityError when a training model itself answers NaN.
    """
    answers: list[Floats] = []
    layers: dict[str, Floats] = {}
    for number, source in enumerate(sources, start=1):
        prefix = f"net{number}/" if len(sources) > 1 else ""
        answers.append(_probabilities(source, pictures, options))
        if not np.isfinite(answers[-1]).all():
            raise ParityError("the training model itself answers NaN; train again with a lower learning rate")
        crop = centre_crop(pictures[0], source.mean, source.network.architecture.crop)
        outputs = layer_outputs(source.network, crop, source.recipe.data.divisor)
        layers |= {prefix + name: value for name, value in outputs.items()}
    mean: Floats = np.stack(answers).mean(axis=0, dtype=np.float32) if len(sources) > 1 else answers[0]
    return ParityPack(pictures, mean, names, checkpoint_digest(sources), CROPS if options.crops == "ten" else 1, layers)


def _probabilities(source: Source, pictures: Pixels, options: ExportOptions) -> Floats:
    """Return one network's answers [P, classes] on ten crops or the centre one."""
    divisor = source.recipe.data.divisor
    if options.crops == "ten":
        return ten_crop_probabilities(source.network, pictures, source.mean, divisor=divisor)
    parts = centre_probabilities(source.network, pictures, source.mean, divisor=divisor, batch=32)
    return np.concatenate([part.numpy() for part in parts])


def checkpoint_digest(sources: Sequence[Source]) -> str:
    """Return the digest of a network's checkpoint; of several, the SHA-256 of their digests, one a line."""
    digests = [source.checkpoint_sha256 for source in sources]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def metadata_of(sources: Sequence[Source], options: ExportOptions) -> ModelMetadata:
    """Return what the model will say of itself, its proof still empty.

    An ensemble's recipe holds those of its members, its name and its mean's digest those of all. Raises ModelError
    when the members name other classes, or in another order, or have pictures resized by another rule.
    """
    first = sources[0]
    for source in sources[1:]:
        if source.labels != first.labels:
            raise ModelError(
                f"an ensemble's networks must name the same classes in one order: {first.recipe.name} names "
                f"{_some(first.labels)}, {source.recipe.name} {_some(source.labels)}; export those that agree"
            )
        mine, other = Preprocessing.of(first.recipe.data), Preprocessing.of(source.recipe.data)
        if mine.rule != other.rule:
            raise ModelError(
                f"an ensemble's networks must see the same pictures: {first.recipe.name} has them resized by "
                f"{mine.resize!r}, {source.recipe.name} by {other.resize!r}; export those that agree"
            )
    means = [hashlib.sha256(np.ascontiguousarray(source.mean, dtype="<f4").tobytes()).hexdigest() for source in sources]
    lone = len(sources) == 1
    recipes = [recipe_to_values(source.recipe) for source in sources]
    return ModelMetadata(
        name=" + ".join(source.recipe.name for source in sources),
        labels=first.labels,
        preprocessing=Preprocessing.of(first.recipe.data),
        crop=first.network.architecture.crop,
        crops=CROPS if options.crops == "ten" else 1,
        input=options.input,
        mean_sha256=means[0] if lone else hashlib.sha256("\n".join(means).encode()).hexdigest(),
        recipe=recipes[0] if lone else {"members": recipes},
        checkpoint_sha256=checkpoint_digest(sources),
        toolchain_version=__version__,
        lrn=options.lrn,
        stem=options.stem,
        precision=options.precision,
        parity={},
        batch=options.batch,
        members=() if lone else tuple(source.checkpoint_sha256 for source in sources),
    )


def _some(labels: tuple[str, ...]) -> str:
    """Return the first labels, for a message."""
    return ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
