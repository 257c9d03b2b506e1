"""An ONNX file without its weights: the graph is read, the numbers stay where they are until a runtime maps them.

A full-size model is 245 MB of weights and 20 kB of everything else. Reading it whole only to look at its metadata, and
once more by the runtime, is most of a start. So the file is walked by protobuf's wire format, and the bytes of large
weights are left out; a runtime that maps external data gets the graph with their places in this very file.
ONNX: ModelProto.graph = 7, GraphProto.initializer = 5, TensorProto.raw_data = 9.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import StringStringEntryProto, TensorProto

_GRAPH, _INITIALISER, _RAW_DATA = 7, 5, 9
# The wire type of messages, strings and bytes.
_LENGTH = 2
# Smaller tensors are kept: they cost nothing, and shapes and axes are needed to understand a graph.
LARGE = 1 << 16


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes stand in the file."""

    offset: int
    length: int


def read_skeleton(path: Path) -> tuple[onnx.ModelProto, dict[str, Place]]:
    """Return the model in `path` without the bytes of its large weights, and their places by the tensors' names.

    Raises ValueError for a file that is not protobuf, or no model, and OSError when it cannot be read.
    """
    places: list[Place] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kept = _without_weights(data, 0, len(data), (_GRAPH, _INITIALISER), places)
    model = onnx.load_model_from_string(kept)
    left_out = [tensor for tensor in model.graph.initializer if _is_empty(tensor)]
    if len(left_out) != len(places):
        raise ValueError("the weights are not where they were expected")
    return model, {tensor.name: place for tensor, place in zip(left_out, places, strict=True)}


def with_places(model: onnx.ModelProto, places: dict[str, Place], file: str) -> bytes:
    """Return a skeleton as bytes in which the weights are external data: their places in `file`, beside the model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if (place := places.get(tensor.name)) is not None:
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": file, "offset": str(place.offset), "length": str(place.length)}
            tensor.external_data.extend(StringStringEntryProto(key=key, value=value) for key, value in entries.items())
    data: bytes = copy.SerializeToString()
    return data


def _is_empty(tensor: TensorProto) -> bool:
    """Return whether a tensor has no bytes of its own, though its shape has room for some."""
    return (
        not tensor.HasField("raw_data")
        and tensor.data_location != TensorProto.EXTERNAL
        and not any(len(values) for values in (tensor.float_data, tensor.int64_data, tensor.int32_data))
        and 0 not in tensor.dims
    )


def _without_weights(data: mmap.mmap, start: int, end: int, inside: tuple[int, ...], places: list[Place]) -> bytes:
    """Return the message data[start:end] without large raw data; `inside` are the fields that lead to it."""
    parts = []
    for tag, number, wire, value, stop in _fields(data, start, end):
        if wire == _LENGTH and not inside and number == _RAW_DATA and stop - value >= LARGE:
            places.append(Place(value, stop - value))
        elif wire == _LENGTH and inside and number == inside[0]:
            message = _without_weights(data, value, stop, inside[1:], places)
            parts += [_varint(number << 3 | _LENGTH), _varint(len(message)), message]
        else:
            parts.append(data[tag:stop])
    return b"".join(parts)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the fields of a message: where its tag stands, its number, wire type, and its value's start and end."""
    at = start
    while at < end:
        tag = at
        key, at = _read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = at
        match wire:
            case 0:
                _, at = _read_varint(data, at, end)
            case 1:
                at += 8
            case 2:
                length, value = _read_varint(data, at, end)
                at = value + length
            case 5:
                at += 4
            case _:
                raise ValueError(f"wire type {wire}")
        if at > end:
            raise ValueError("a field ends behind its message")
        yield tag, number, wire, value, at


def _read_varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Return the number that starts at a byte, and the byte after it."""
    number = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("a number without end")


def _varint(number: int) -> bytes:
    """Return a number in protobuf's form."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
