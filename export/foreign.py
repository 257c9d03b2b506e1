"""A net that others trained, in this toolchain's terms: what every reader of foreign weights returns and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from alexnet.architecture import Conv, layer_table
from alexnet.errors import ModelError, RecipeError
from alexnet.files import sha256_of
from alexnet.recipe import DataRecipe, NetworkRecipe, OriginRecipe, SgdRecipe

Floats = npt.NDArray[np.float32]
Kind = Literal["caffenet", "bvlc_alexnet", "torchvision"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CONVOLUTIONS = tuple(f"conv{place}" for place in range(1, 6))
FULL = tuple(f"fc{place}" for place in range(6, 9))
LAYERS = (*CONVOLUTIONS, *FULL)


@dataclass(frozen=True)
class ForeignNet:
    """A foreign net as a run holds one.

    `weights` are named after the layer table (`conv1.weight` [O, I, k, k], `fc6.weight` [out, in]) and fit `network`;
    they take RGB pixels 0..255 less `mean` [S, S, 3], and the paper's dropout, which scales at test time (section 4.2).
    """

    network: NetworkRecipe
    data: DataRecipe
    sgd: SgdRecipe
    weights: dict[str, Floats]
    mean: Floats
    origin: OriginRecipe


def widths(weights: Mapping[str, Floats]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return the kernels of each convolution, the neurons of each hidden layer, and the classes, as the file has them.

    The file and not a constant decides: a net fine-tuned on other classes, or of another width, is read as well.
    """
    first = {name: weights[f"{name}.weight"].shape[0] for name in LAYERS}
    hidden = tuple(first[name] for name in FULL[:-1])
    return tuple(first[name] for name in CONVOLUTIONS), hidden, first[FULL[-1]]


def check_shapes(weights: Mapping[str, Floats], network: NetworkRecipe, names: Mapping[str, str], where: str) -> None:
    """Hold every shape against the layer table of `network`; ModelError names the first that differs, and both shapes.

    `names` gives the file's own name of each weight, `where` the file and the kind of net. Values that are no numbers
    are refused as well.
    """
    try:
        rows = list(layer_table(network).rows())
    except RecipeError as error:
        raise ModelError(f"{where}: its shapes are those of no AlexNet: {error.message}") from None
    for row in rows:
        layer, inputs = row.layer, row.input
        if isinstance(layer, Conv):
            expected: tuple[int, ...] = (layer.kernels, inputs.channels // row.groups, layer.size, layer.size)
        else:
            expected = (layer.neurons, inputs.size)
        for name, shape in ((f"{layer.name}.weight", expected), (f"{layer.name}.bias", expected[:1])):
            found = weights[name]
            if found.shape != shape:
                raise ModelError(
                    f"{where}: {names[name]} has the shape {list(found.shape)}, expected {list(shape)} for {name}; "
                    "give the weights of that net, or another --kind"
                )
            if not np.isfinite(found).all():
                raise ModelError(f"{where}: {names[name]} holds NaN or infinity; the file is damaged or diverged")


def fold_dropout(weights: dict[str, Floats], rate: float) -> str:
    """Divide fc7's and fc8's weights by 1 - rate, in place, and return what was done, in words.

    Caffe and torch scale in training, by 1 / (1 - rate); the paper's dropout multiplies by 1 - rate at test time
    (section 4.2). With a rate of 0.5 the fold is exact, and a run that goes on trains with the recipe's dropout.
    """
    for name in FULL[1:]:
        weights[f"{name}.weight"] = weights[f"{name}.weight"] / np.float32(1.0 - rate)
    return f"1 / (1 - {rate:g}) of inverted dropout in fc7 and fc8, which the paper's dropout takes back at test time"


def origin_of(
    kind: Kind, weights: Path, mean: Path | None, channels: Literal["RGB", "BGR"], folded: list[str], differs: list[str]
) -> OriginRecipe:
    """Return what a run says of its origin: the files by name and digest, without their folders, and words."""
    return OriginRecipe(
        kind=kind,
        weights=weights.name,
        weights_sha256=sha256_of(weights),
        mean=mean.name if mean else "",
        mean_sha256=sha256_of(mean) if mean else "",
        channels=channels,
        folded=tuple(folded),
        differs=tuple(differs),
    )
