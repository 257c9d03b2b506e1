"""Caffe's binary files: `.caffemodel` (a NetParameter) and `.binaryproto` (a BlobProto), read by protobuf itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from alexnet.errors import InputError, ModelError
from alexnet.export.caffe_schema import V1_TYPES, messages

Floats = npt.NDArray[np.float32]

# What protobuf reads at most, and eight times the published nets.
FILE_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Spatial:
    """A window over maps: side, stride and zeros around, in positions."""

    size: int
    stride: int
    pad: int

    def __str__(self) -> str:
        """Return it as an error names it."""
        return f"kernel {self.size}, stride {self.stride}, padding {self.pad}"


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a file: name, type, weights as float32 arrays, and its settings where the file has them.

    `window` is that of a convolution or pooling, `groups` a convolution's; `lrn` (local_size, alpha, beta, k) as Caffe
    means them, alpha divided by local_size in use; `dropout` the share of zeros, `oddity` what it does that no layer of
    AlexNet does.
    """

    name: str
    type: str
    blobs: tuple[Floats, ...] = ()
    window: Spatial | None = None
    groups: int | None = None
    lrn: tuple[int, float, float, float] | None = None
    dropout: float | None = None
    oddity: str = ""


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """Return the layers of a `.caffemodel` in their order; ModelError when it is none, or truncated."""
    net = _parsed("NetParameter", path, ModelError)
    if any(layer.HasField("layer") for layer in net.layers):
        raise ModelError(
            f"{path} is in Caffe's first format (V0), expected V1 or the present one; "
            "upgrade it with Caffe's own upgrade_net_proto_binary"
        )
    layers = [_layer(layer, _text(layer.type), path) for layer in net.layer]
    layers += [_layer(layer, V1_TYPES.get(layer.type, f"type {layer.type}"), path) for layer in net.layers]
    if not layers:
        raise ModelError(
            f"{path} holds no layers: it is not a .caffemodel, or it is truncated; expected a NetParameter of Caffe, "
            "or torchvision's weights as .safetensors or .pth; download it again"
        )
    return layers


def read_mean(path: Path, side: int) -> Floats:
    """Return the mean image of a `.binaryproto`, [3, side, side], colours in the file's order; InputError otherwise."""
    blob = _array(_parsed("BlobProto", path, InputError), f"{path}", InputError)
    if blob.shape not in ((1, 3, side, side), (3, side, side)):
        raise InputError(
            f"{path} holds a mean of {list(blob.shape)}, expected [1, 3, {side}, {side}]: "
            "give the mean the net was trained with, imagenet_mean.binaryproto of caffe_ilsvrc12.tar.gz"
        )
    return blob.reshape(3, side, side)


def _parsed(kind: str, path: Path, error: type[InputError] | type[ModelError]) -> Any:
    """Return a file as a message of the schema; `error` when it cannot be read or is no such message."""
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise error(f"{path} has {size:,} bytes, Caffe's files have at most {FILE_LIMIT:,}; give another file")
        message = messages()[kind]()
        message.ParseFromString(path.read_bytes())
        return message
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror or cause}; give the path of a file") from None
    except DecodeError:
        what = "a .caffemodel" if kind == "NetParameter" else "a .binaryproto"
        raise error(f"{path} is not {what}, or it is truncated or damaged; download it again") from None


def _text(data: bytes) -> str:
    """Return a name in the file as text, whatever its bytes."""
    return data.decode(errors="replace")


def _layer(layer: Any, kind: str, path: Path) -> CaffeLayer:
    """Return one layer with what the file says of it."""
    name = _text(layer.name)
    where = f"{path}: layer {name!r}"
    blobs = tuple(_array(blob, f"{where}, blob {place}", ModelError) for place, blob in enumerate(layer.blobs))
    window, groups, lrn, dropout, oddity = None, None, None, None, ""
    if kind == "Convolution" and layer.HasField("convolution_param"):
        settings = layer.convolution_param
        window, groups = _window(settings, where), int(settings.group)
        oddity = "dilation" if any(step != 1 for step in settings.dilation) else ""
    elif kind == "Pooling" and layer.HasField("pooling_param"):
        window = _window(layer.pooling_param, where)
        oddity = "not max pooling" if layer.pooling_param.pool or layer.pooling_param.global_pooling else ""
    elif kind == "LRN" and layer.HasField("lrn_param"):
        settings = layer.lrn_param
        alpha, beta, k = (_decimal(value) for value in (settings.alpha, settings.beta, settings.k))
        lrn = int(settings.local_size), alpha, beta, k
        oddity = "normalisation within maps" if settings.norm_region else ""
    elif kind == "Dropout":
        dropout = _decimal(layer.dropout_param.dropout_ratio)
    elif kind == "ReLU":
        oddity = "a negative slope" if layer.relu_param.negative_slope else ""
    elif kind == "InnerProduct":
        oddity = "a transposed matrix" if layer.inner_product_param.transpose else ""
    return CaffeLayer(name, kind, blobs, window, groups, lrn, dropout, oddity)


def _decimal(value: float) -> float:
    """Return the shortest decimal of a float32: 0.0001, where its float64 reads 0.00009999999747."""
    return float(str(np.float32(value)))


def _window(settings: Any, where: str) -> Spatial:
    """Return a square window from `kernel_size`, `stride` and `pad`, or from their `_h` and `_w`; ModelError if not."""
    found: list[int] = []
    for name, short, default in (("kernel_size", "kernel", 0), ("stride", "stride", 1), ("pad", "pad", 0)):
        values = {int(value) for value in getattr(settings, name)}
        sides = {getattr(settings, f"{short}_{side}") for side in "hw" if settings.HasField(f"{short}_{side}")}
        values = values or sides or {default}
        if len(values) != 1:
            raise ModelError(f"{where} has {short} {sorted(values)}, expected one for both directions; no AlexNet has")
        found += values
    return Spatial(*found)


def _array(blob: Any, where: str, error: type[InputError] | type[ModelError]) -> Floats:
    """Return a blob as float32 in its shape, which must be that of the numbers in the file, so nothing is allocated."""
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(int(side) for side in (blob.shape.dim if blob.HasField("shape") else legacy))
    data, size = b"".join(blob.data or blob.double_data), 4 if blob.data else 8
    if len(data) % size or any(side < 0 for side in shape) or math.prod(shape) != len(data) // size:
        raise error(
            f"{where} claims the shape {list(shape)} and holds {len(data) / size:g} numbers; "
            "the file is damaged: download it again"
        )
    return np.frombuffer(data, dtype=f"<f{size}").astype(np.float32, copy=False).reshape(shape)
