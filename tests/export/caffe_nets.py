"""Small nets in Caffe's terms: made, written byte by byte in Caffe's formats, and computed by torch's functions.

Nothing here comes from the reader's schema: the field numbers are those of caffe.proto, written as a protobuf encoder
writes them, and the forward pass is Caffe's, with BGR pixels and its own alpha.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

Floats = npt.NDArray[np.float32]
Weights = dict[str, tuple[Floats, Floats]]

CLASSES = 5
SHAPES = {
    "conv1": (8, 3, 11, 11),
    "conv2": (12, 4, 5, 5),
    "conv3": (16, 12, 3, 3),
    "conv4": (12, 8, 3, 3),
    "conv5": (10, 6, 3, 3),
    "fc6": (18, 360),
    "fc7": (14, 18),
    "fc8": (CLASSES, 14),
}
WINDOWS = {"conv1": (11, 4, 0, 1), "conv2": (5, 1, 2, 2), "conv3": (3, 1, 1, 1), "conv4": (3, 1, 1, 2)}
WINDOWS["conv5"] = (3, 1, 1, 2)
AFTER = {
    "bvlc_alexnet": {"conv1": ["relu", "norm", "pool"], "conv2": ["relu", "norm", "pool"]},
    "caffenet": {"conv1": ["relu", "pool", "norm"], "conv2": ["relu", "pool", "norm"]},
}
LATER = {
    "conv3": ["relu"],
    "conv4": ["relu"],
    "conv5": ["relu", "pool"],
    "fc6": ["relu", "drop"],
    "fc7": ["relu", "drop"],
}
TYPES = {"relu": ("ReLU", 18), "norm": ("LRN", 15), "pool": ("Pooling", 17), "drop": ("Dropout", 6)}


def caffe_weights(seed: int = 0) -> Weights:
    """Return weights whose answers are far from equal and from certain, so that any difference shows."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in SHAPES.items():
        spread = (2.5 / np.prod(shape[1:])) ** 0.5 * (0.01 if name == "fc8" else 1.0)
        bias = rng.uniform(0, 0.2, shape[0]).astype(np.float32)
        weights[name] = (rng.normal(0, spread, shape).astype(np.float32), bias)
    return weights


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def real(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def chunk(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def blob(values: npt.NDArray[np.floating], old: bool = False, shape: tuple[int, ...] | None = None) -> bytes:
    """Return a BlobProto: the old format has four sides and no shape; float64 goes where Caffe puts doubles."""
    shape = shape or values.shape
    if old:
        four = (1,) * (4 - len(shape)) + tuple(shape)
        sides = b"".join(number(place + 1, side) for place, side in enumerate(four))
    else:
        sides = chunk(7, chunk(1, b"".join(map(varint, shape))))
    field = 8 if values.dtype == np.float64 else 5
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    # Numbers of one packed field may come in several pieces.
    half = len(data) // 2 // values.itemsize * values.itemsize
    return sides + chunk(field, data[:half]) + chunk(field, data[half:])


def layer(name: str, kind: str, code: int, settings: tuple[int, int, bytes], blobs: list[bytes], old: bool) -> bytes:
    """Return one layer as a field of NetParameter; `settings` are its field in either format and its bytes."""
    new_field, old_field, data = settings
    if old:
        body = chunk(4, name.encode()) + number(5, code) + b"".join(chunk(6, each) for each in blobs)
        return chunk(2, body + (chunk(old_field, data) if old_field else b""))
    body = chunk(1, name.encode()) + chunk(2, kind.encode()) + b"".join(chunk(7, each) for each in blobs)
    return chunk(100, body + (chunk(new_field, data) if new_field else b""))


def step(name: str, after: str, old: bool, alpha: float) -> bytes:
    kind, code = TYPES[name]
    settings = {
        "relu": (0, 0, b""),
        "norm": (118, 18, number(1, 5) + real(2, alpha) + real(3, 0.75)),
        "pool": (121, 19, number(1, 0) + number(2, 3) + number(3, 2)),
        "drop": (108, 12, real(1, 0.5)),
    }[name]
    return layer(f"{name}{after[-1]}", kind, code, settings, [], old)


def caffemodel(
    weights: Weights,
    kind: str,
    *,
    old: bool = False,
    steps: bool = True,
    alpha: float = 1e-4,
    double: bool = False,
    groups: dict[str, int] | None = None,
    without: str = "",
    extra: bytes = b"",
) -> bytes:
    """Return a NetParameter of the kind, as training leaves it: a data layer first and a loss last."""
    out = [chunk(1, b"AlexNet \xff")]
    if steps:
        out.append(layer("data", "Data", 5, (0, 0, b""), [], old))
    for name, arrays in weights.items():
        if name == without:
            continue
        blobs = [blob(array.astype(np.float64) if double else array, old) for array in arrays]
        if name in WINDOWS:
            size, stride, pad, group = WINDOWS[name]
            group = (groups or {}).get(name, group)
            data = number(1, len(arrays[1])) + number(3, pad) + number(4, size) + number(6, stride) + number(5, group)
            out.append(layer(name, "Convolution", 4, (106, 10, data) if steps else (0, 0, b""), blobs, old))
        else:
            out.append(layer(name, "InnerProduct", 14, (117, 17, number(1, len(arrays[1]))), blobs, old))
        if steps:
            out += [step(each, name, old, alpha) for each in {**LATER, **AFTER[kind]}.get(name, [])]
    if steps:
        out.append(layer("loss", "SoftmaxWithLoss", 21, (0, 0, b""), [], old))
    return b"".join([*out, extra])


def caffe_answers(weights: Weights, kind: str, pictures: npt.NDArray[np.uint8], mean: Floats) -> Floats:
    """Return [N, classes]: the ten crops' averaged softmax as Caffe computes it; `mean` is BGR [3, 256, 256]."""
    x = torch.from_numpy(pictures[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) - mean)
    last = 256 - 227
    crops = [x[:, :, y : y + 227, z : z + 227] for y, z in ((0, 0), (0, last), (last, 0), (last, last), (14, 14))]
    crops += [crop.flip(3) for crop in crops]
    return torch.stack([_forward(crop, weights, kind).softmax(1) for crop in crops]).mean(0).numpy()


def _forward(x: torch.Tensor, weights: Weights, kind: str) -> torch.Tensor:
    tensors = {name: tuple(map(torch.from_numpy, arrays)) for name, arrays in weights.items()}
    for name, (_, stride, pad, groups) in WINDOWS.items():
        x = functional.conv2d(x, *tensors[name], stride=stride, padding=pad, groups=groups)
        for each in {**LATER, **AFTER[kind]}[name]:
            if each == "relu":
                x = x.relu()
            elif each == "pool":
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                x = functional.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)
    x = x.flatten(1)
    x = functional.linear(x, *tensors["fc6"]).relu()
    x = functional.linear(x, *tensors["fc7"]).relu()
    return functional.linear(x, *tensors["fc8"])


def photographs(folder: Path, number: int = 4) -> list[Path]:
    """Write pictures of several ratios, smooth, of strong and unequal colours; return their files."""
    rng = np.random.default_rng(5)
    files = []
    folder.mkdir(parents=True)
    for place in range(number):
        coarse = (rng.integers(0, 256, (7, 9, 3)) * (1.0, 0.7, 0.3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((300 + 70 * place, 420 - 40 * place), Image.Resampling.BICUBIC)
        files.append(folder / f"{place}.png")
        image.save(files[-1])
    return files
