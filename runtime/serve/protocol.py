"""The Open Inference Protocol v2 over HTTP as pure functions: the body of an inference request, and that of its answer.

With the extensions `binary_tensor_data` (tensors after the JSON, as bytes) and `classification` (an output as its best
classes, "probability:index:label"). A model has one input, uint8 pictures [N, S, S, 3] whatever its file takes, and
one output, float32 probabilities [N, classes]. What the gRPC form (`alexnet.runtime.serve.grpc_protocol`) has in common
with this one stands here.
Source: Open Inference Protocol, inference_rest.md; Triton's protocol extensions, extension_binary_data.md and
extension_classification.md.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.runtime.backends import Floats, Pixels
from alexnet.runtime.classify import best_places

T = TypeVar("T")
EXTENSIONS = ("binary_tensor_data", "classification")
HEADER_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"
# The digits that a count of bytes or of pictures may have.
DIGITS = 18


class ProtocolError(Exception):
    """A request that is not as the protocol has it, in words for its sender."""


@dataclass(frozen=True)
class Wanted:
    """How the output is asked for: as bytes or as JSON, and as its best `classes`, 0 for the probabilities."""

    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """What a request asks for: pictures uint8 [N, S, S, 3], its output, and the `id` that is given back."""

    pictures: Pixels
    wanted: Wanted
    id: str | None = None


def model_description(name: str, platform: str, metadata: ModelMetadata) -> dict[str, Any]:
    """Return what the protocol says of a model."""
    side = metadata.preprocessing.side
    return {
        "name": name,
        "versions": [VERSION],
        "platform": platform,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, len(metadata.labels)]}],
    }


def read_request(
    body: bytes | bytearray, header_length: str | None, metadata: ModelMetadata, most: int
) -> InferRequest:
    """Return the inference request in a body of which `header_length` bytes are JSON, all where it is None.

    `most` is the number of pictures that one request may hold. Raises ProtocolError, saying what was expected.
    """
    length = len(body) if header_length is None else _number(header_length)
    if length is None or length > len(body):
        raise ProtocolError(f"{HEADER_LENGTH} is {header_length!r}, expected a number up to the body's {len(body)}")
    view = memoryview(body)
    try:
        values = json.loads(bytes(view[:length]))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the request is not JSON: {error}") from None
    request = _object(values, "the request")
    name = request.get("id")
    if name is not None and not isinstance(name, str):
        raise ProtocolError("the id is not a string")
    everything = _parameters(request, "the request").get("binary_data_output") is True
    given = the_input(_list(request, "inputs"))
    pictures = _pictures(given, input_shape(given, metadata.preprocessing.side, most), view[length:])
    outputs = _list(request, "outputs") if "outputs" in request else None
    return InferRequest(pictures, wanted_output(outputs, everything, len(metadata.labels)), name)


def the_input(inputs: Sequence[T]) -> T:
    """Return the one input of a request."""
    if len(inputs) != 1:
        raise ProtocolError(f"there are {len(inputs)} inputs, expected one, {INPUT}")
    return inputs[0]


def input_shape(tensor: Any, side: int, most: int) -> list[int]:
    """Return the shape of a request's input, {"name", "datatype", "shape", "parameters"}, at most `most` pictures."""
    given = _object(tensor, "an input")
    if given.get("name") != INPUT or given.get("datatype") != "UINT8":
        raise ProtocolError(
            f"the input is {given.get('name')!r} of datatype {given.get('datatype')!r}, expected {INPUT!r} of UINT8"
        )
    shape = _list(given, "shape")
    if (
        not all(type(size) is int for size in shape)
        or len(shape) != 4
        or shape[1:] != [side, side, 3]
        or not 1 <= shape[0] <= most
    ):
        raise ProtocolError(f"{INPUT} has another shape than [N, {side}, {side}, 3] with N from 1 to {most}")
    if "shared_memory_region" in _parameters(given, INPUT):
        raise ProtocolError("shared memory is not supported; send the tensor with the request")
    return shape


def _pictures(given: dict[str, Any], shape: list[int], binary: memoryview) -> Pixels:
    """Return the pictures of an input, which are in the JSON or after it."""
    size = _parameters(given, INPUT).get("binary_data_size")
    if size is None:
        if len(binary):
            raise ProtocolError(f"{len(binary)} bytes follow the JSON and no input has a binary_data_size")
        return np.frombuffer(_bytes_of(given.get("data"), shape), dtype=np.uint8).reshape(shape)
    expected = math.prod(shape)
    if "data" in given or size != expected or len(binary) != expected:
        raise ProtocolError(
            f"{INPUT} of shape {shape} takes {expected} bytes after the JSON and no data in it; binary_data_size is "
            f"{size!r} and {len(binary)} bytes follow"
        )
    # Copied, so that the body can be let go.
    return np.frombuffer(bytes(binary), dtype=np.uint8).reshape(shape)


def _bytes_of(data: Any, shape: list[int]) -> bytes:
    """Return the numbers of a JSON tensor, nested as its shape or flat, as bytes."""
    if not isinstance(data, list):
        raise ProtocolError(f"{INPUT} has no data")
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise ProtocolError(f"the data of {INPUT} are {len(data)} pictures, its shape says {shape[0]}")
        for size in shape[1:]:
            if not all(isinstance(row, list) and len(row) == size for row in data):
                raise ProtocolError(f"the data of {INPUT} are not nested as its shape {shape}")
            data = list(itertools.chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise ProtocolError(f"{INPUT} of shape {shape} takes {math.prod(shape)} numbers, found {len(data)}")
    try:
        if set(map(type, data)) == {int}:
            return bytes(data)
    except ValueError:
        pass
    raise ProtocolError(f"the data of {INPUT} are not all whole numbers from 0 to 255")


def wanted_output(outputs: list[Any] | None, binary: bool, classes: int) -> Wanted:
    """Return how the output is to be answered, `binary` where the request does not say it of the output itself.

    `outputs` are those that a request asks for, {"name", "parameters"}, None where it leaves them to the server.
    """
    if outputs is None:
        return Wanted(binary)
    if len(outputs) != 1:
        raise ProtocolError(f"{len(outputs)} outputs are asked for, expected one, {OUTPUT}")
    output = _object(outputs[0], "an output")
    if output.get("name") != OUTPUT:
        raise ProtocolError(f"the output is {output.get('name')!r}, expected {OUTPUT!r}")
    parameters = _parameters(output, OUTPUT)
    if "shared_memory_region" in parameters:
        raise ProtocolError("shared memory is not supported; leave it out of the outputs")
    best = parameters.get("classification", 0)
    if type(best) is not int or best < 0:
        raise ProtocolError("classification is not a number of classes")
    return Wanted(parameters.get("binary_data", binary) is True, min(best, classes))


@dataclass(frozen=True)
class OutputTensor:
    """The output as the protocol has it: probabilities FP32 [N, classes], or the best of them as BYTES: text."""

    datatype: str
    shape: list[int]
    values: npt.NDArray[Any]

    def data(self) -> bytes:
        """Return the tensor as bytes: little-endian numbers, or texts that each follow their length as a uint32."""
        if self.datatype == "FP32":
            return self.values.astype("<f4").tobytes()
        return b"".join(struct.pack("<I", len(text)) + text for text in map(str.encode, self.values))


def output_tensor(probabilities: Floats, classes: int, labels: tuple[str, ...]) -> OutputTensor:
    """Return the output for probabilities [N, classes]: themselves, or the best `classes` of each where it is not 0."""
    if not classes:
        return OutputTensor("FP32", list(probabilities.shape), probabilities.ravel())
    texts = [f"{row[place]:f}:{place}:{labels[place]}" for row in probabilities for place in best_places(row, classes)]
    return OutputTensor("BYTES", [len(probabilities), classes], np.array(texts, dtype=object))


def write_answer(
    name: str, request: InferRequest, probabilities: Floats, labels: tuple[str, ...]
) -> tuple[bytes, int | None]:
    """Return the body that answers a request, and the length of its JSON where bytes follow it, None where none do."""
    answered = output_tensor(probabilities, request.wanted.classes, labels)
    output: dict[str, Any] = {"name": OUTPUT, "datatype": answered.datatype, "shape": answered.shape}
    binary = request.wanted.binary
    data = answered.data() if binary else b""
    output |= {"parameters": {"binary_data_size": len(data)}} if binary else {"data": answered.values.tolist()}
    identity = {} if request.id is None else {"id": request.id}
    values = {"model_name": name, "model_version": VERSION, **identity, "outputs": [output]}
    head = json.dumps(values).encode()
    return (head + data, len(head)) if binary else (head, None)


def _object(values: Any, what: str) -> dict[str, Any]:
    """Return JSON values that are an object; ProtocolError otherwise."""
    if not isinstance(values, dict):
        raise ProtocolError(f"{what} is not a JSON object")
    return values


def _list(values: dict[str, Any], key: str) -> list[Any]:
    """Return a list of a request or of an input; ProtocolError when it is none."""
    found = values.get(key)
    if not isinstance(found, list):
        raise ProtocolError(f"the request has no list {key!r}")
    return found


def _parameters(values: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output."""
    return _object(values.get("parameters", {}), f"parameters of {what}")


def _number(text: str) -> int | None:
    """Return a whole number in a header, None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None
