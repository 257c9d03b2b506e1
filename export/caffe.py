"""Caffe's bvlc_alexnet and CaffeNet: what their files mean, in this toolchain's terms.

Both are the paper's layers in groups, with k = 1 and alpha over local_size in the normalisation, which runs over the
whole layer, crops of 227 without padding at conv1, BGR pixels, and pictures warped to 256 x 256. CaffeNet pools before
it normalises. Caffe's pooling rounds the number of positions up, which for these sides is the same as down.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np

from alexnet.errors import ModelError
from alexnet.export.caffe_file import CaffeLayer, Spatial, read_caffemodel, read_mean
from alexnet.export.foreign import (
    CONVOLUTIONS,
    FULL,
    KINDS,
    LAYERS,
    Floats,
    ForeignNet,
    Kind,
    check_shapes,
    fold_dropout,
    origin_of,
    widths,
)
from alexnet.recipe import DataRecipe, NetworkRecipe, SgdRecipe

SIDE, CROP = 256, 227
# The published train_val.prototxt of both nets.
WINDOWS = (Spatial(11, 4, 0), Spatial(5, 1, 2), Spatial(3, 1, 1), Spatial(3, 1, 1), Spatial(3, 1, 1))
GROUPS = (1, 2, 1, 2, 2)
POOL = Spatial(3, 2, 0)
LRN = (5, 1e-4, 0.75, 1.0)
DROPOUT = 0.5
# The mean of each colour of imagenet_mean.binaryproto, BGR, as Caffe's examples use it.
COLOUR_MEAN = (104.00698793, 116.66876762, 122.67891434)

T = TypeVar("T")
Steps = tuple[tuple[str, ...], ...]
_LATER: Steps = (("relu",), ("relu",), ("relu", "pool"))
STEPS: dict[Kind, Steps] = {
    "bvlc_alexnet": (("relu", "lrn", "pool"), ("relu", "lrn", "pool"), *_LATER),
    "caffenet": (("relu", "pool", "lrn"), ("relu", "pool", "lrn"), *_LATER),
}
STEP_TYPES = {"ReLU": "relu", "LRN": "lrn", "Pooling": "pool", "Dropout": "dropout"}
WEIGHTED = ("Convolution", "InnerProduct")
# Layers that change no number on the way from the pictures to fc8.
PASSED = {"Accuracy", "Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "Silence", "Split"}
PASSED |= {"Softmax", "SoftmaxWithLoss", "WindowData"}


def read_caffe(path: Path, kind: Kind | None, mean: Path | None) -> ForeignNet:
    """Return the net in a `.caffemodel`; `kind` is needed only where the file does not tell the order of its layers.

    Without the file of the mean, each colour's mean is subtracted. Raises ModelError for a file that is none, or whose
    layers are not those of the kind, and InputError for a mean of another size.
    """
    layers = read_caffemodel(path)
    weighted = _weighted(layers, path)
    steps = _steps(layers, path)
    kind = _kind(steps, kind, path)
    where = f"{path}, read as {kind}"
    _check_settings(layers, weighted, where)
    weights, names = _weights(weighted, where)
    kernels, hidden, classes = widths(weights)
    size, alpha, beta, k = _one({layer.lrn for layer in layers if layer.lrn}, LRN, "normalisation", where)
    rate = _dropout(layers, where)
    network = NetworkRecipe(
        classes=classes,
        crop=CROP,
        kernels=kernels,
        hidden=hidden,
        steps=STEPS[kind],  # type: ignore[arg-type]
        conv1_padding="none",
        dropout=rate,
        lrn_size=size,
        lrn_alpha=alpha / size,
        lrn_beta=beta,
        lrn_k=k,
        lrn_scope="layer",
    )
    check_shapes(weights, network, names, where)
    weights["conv1.weight"] = np.ascontiguousarray(weights["conv1.weight"][:, ::-1])
    folded = ["the order of conv1's colours, turned from BGR to RGB"]
    if rate:
        folded.append(fold_dropout(weights, rate))
    differs = ["pictures are resized by Pillow's antialiased bilinear filter, Caffe's convert_imageset uses OpenCV's"]
    if mean is None:
        differs.append("the mean of each colour is subtracted, the net was trained with a mean image")
    return ForeignNet(
        network,
        DataRecipe(picture=SIDE, resize="warp", mean="pixel" if mean else "channel"),
        SgdRecipe(bias_rate=2.0, decay_biases=False),
        weights,
        _mean(mean),
        origin_of(kind, path, mean, "BGR", folded, differs),
    )


def _mean(path: Path | None) -> Floats:
    """Return what is subtracted, RGB [S, S, 3]: the mean image of a file, or each colour's mean."""
    if path is None:
        return np.tile(np.array(COLOUR_MEAN[::-1], dtype=np.float32), (SIDE, SIDE, 1))
    return np.ascontiguousarray(read_mean(path, SIDE)[::-1].transpose(1, 2, 0))


def _weighted(layers: list[CaffeLayer], path: Path) -> list[CaffeLayer]:
    """Return the five convolutions and three matrices; ModelError names what is missing or too many."""
    weighted = [layer for layer in layers if layer.type in WEIGHTED]
    expected = ["Convolution"] * len(CONVOLUTIONS) + ["InnerProduct"] * len(FULL)
    if [layer.type for layer in weighted] == expected:
        return weighted
    found = [layer.name for layer in weighted]
    missing = [name for name in LAYERS if name not in found]
    reason = f"{', '.join(missing)} missing, or the file is truncated" if missing else "not those of AlexNet"
    raise ModelError(
        f"{path} holds the layers with weights {', '.join(found) or 'none'}, expected {', '.join(LAYERS)} "
        f"({reason}); download it again, or give another file"
    )


def _steps(layers: list[CaffeLayer], path: Path) -> dict[str, list[str]]:
    """Return the steps that the file has after each layer of LAYERS, in order; ModelError for one AlexNet has not."""
    steps: dict[str, list[str]] = {name: [] for name in ("the pictures", *LAYERS)}
    places = iter(LAYERS)
    place = "the pictures"
    for layer in layers:
        if layer.type in WEIGHTED:
            place = next(places)
        elif layer.type in STEP_TYPES:
            steps[place].append(STEP_TYPES[layer.type])
        if layer.oddity or layer.type not in (*WEIGHTED, *STEP_TYPES, *PASSED):
            what = f"{layer.type}: {layer.oddity}" if layer.oddity else layer.type
            raise ModelError(
                f"{path} has the layer {layer.name!r} ({what}) after {place}, expected none; no AlexNet has"
            )
    return steps


def _kind(steps: dict[str, list[str]], asked: Kind | None, path: Path) -> Kind:
    """Return the kind of net by the order of its steps; ModelError when that is neither's, or not what was asked."""
    if not any(steps.values()):
        if asked is None:
            raise ModelError(
                f"{path} holds weights alone, which do not tell the order of normalisation and pooling; "
                "add --kind caffenet or --kind bvlc_alexnet"
            )
        return asked
    found = {place: tuple(step for step in names if step != "dropout") for place, names in steps.items()}
    full: dict[str, tuple[str, ...]] = {"the pictures": (), "fc6": ("relu",), "fc7": ("relu",), "fc8": ()}
    expected = {kind: {**full, **dict(zip(CONVOLUTIONS, STEPS[kind], strict=True))} for kind in STEPS}
    match = [kind for kind in KINDS if expected.get(kind) == found]
    if not match:
        differing = [place for place in found if found[place] not in [expected[kind][place] for kind in STEPS]]
        # Where each layer is one of either net's, it is their mixture: the second tells.
        place = next(iter(differing), "conv2")
        choices = {", ".join(expected[kind][place]) or "nothing" for kind in STEPS}
        here = ", ".join(found[place]) or "nothing"
        raise ModelError(
            f"{path} has {here} after {place}, expected {' or '.join(sorted(choices))}; "
            "it is neither bvlc_alexnet nor CaffeNet"
        )
    if asked not in (None, match[0]):
        raise ModelError(
            f"{path} has {', '.join(found['conv1'])} after conv1, which is {match[0]}, and {asked} was asked for; "
            "leave --kind out"
        )
    return match[0]


def _check_settings(layers: list[CaffeLayer], weighted: list[CaffeLayer], where: str) -> None:
    """Hold the windows and groups that the file states against the published ones; ModelError names both."""
    for layer, window, groups in zip(weighted, WINDOWS, GROUPS, strict=False):
        if layer.window not in (None, window):
            raise ModelError(f"{where}: {layer.name} has {layer.window}, expected {window}; no AlexNet of Caffe has")
        if layer.groups not in (None, groups):
            raise ModelError(
                f"{where}: {layer.name} has {layer.groups} groups, expected {groups}; it is another net of that name"
            )
    for layer in layers:
        if layer.type == "Pooling" and layer.window not in (None, POOL):
            raise ModelError(f"{where}: {layer.name} has {layer.window}, expected {POOL}; no AlexNet of Caffe has")


def _weights(weighted: list[CaffeLayer], where: str) -> tuple[dict[str, Floats], dict[str, str]]:
    """Return the weights and biases by this toolchain's names, and the file's name of each."""
    weights, names = {}, {}
    for name, layer in zip(LAYERS, weighted, strict=True):
        if len(layer.blobs) != 2:
            raise ModelError(
                f"{where}: {layer.name} holds {len(layer.blobs)} arrays, expected 2, its weights and its biases; "
                "the file is truncated, or it is a prototxt's net without weights"
            )
        for kind, blob, axes in zip(
            ("weight", "bias"), layer.blobs, (4 if name in CONVOLUTIONS else 2, 1), strict=True
        ):
            weights[f"{name}.{kind}"] = _without_ones(blob, axes)
            names[f"{name}.{kind}"] = f"{layer.name} ({'weights' if kind == 'weight' else 'biases'})"
    return weights, names


def _without_ones(blob: Floats, axes: int) -> Floats:
    """Return an array without the leading ones by which the old format makes everything four-dimensional."""
    while blob.ndim > axes and blob.shape[0] == 1:
        blob = blob[0]
    # No array of no axes goes on: its first side is a layer's width.
    return blob.reshape(1) if blob.ndim == 0 else blob


def _one(found: set[T], published: T, what: str, where: str) -> T:
    """Return the one setting of a kind that the file states, or the published one where it states none."""
    if len(found) > 1:
        raise ModelError(f"{where}: its layers of {what} differ ({sorted(map(str, found))}), expected one setting")
    return next(iter(found), published)


def _dropout(layers: list[CaffeLayer], where: str) -> float:
    """Return the share of zeros: as published when the file has weights alone, 0 when its net has no dropout."""
    rates = {layer.dropout for layer in layers if layer.dropout is not None}
    alone = not any(layer.type in STEP_TYPES for layer in layers)
    rate = _one(rates, DROPOUT if alone else 0.0, "dropout", where)
    if not 0 <= rate < 1:
        raise ModelError(f"{where}: its dropout is {rate:g}, expected at least 0 and below 1; the file is damaged")
    return rate
