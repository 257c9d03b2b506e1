"""The Open Inference Protocol v2 over gRPC as pure functions: what a ModelInfer asks for, and the answer to it.

A tensor comes as bytes (`raw_input_contents`) or as numbers (`contents.uint_contents`), and is answered as bytes
(`raw_output_contents`). The messages are those that tritonclient brings.
Source: Open Inference Protocol, inference_grpc.md and open_inference_grpc.proto.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferResponse

from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.runtime.backends import Floats, Pixels
from alexnet.runtime.serve.protocol import (
    VERSION,
    InferRequest,
    ProtocolError,
    input_shape,
    output_tensor,
    the_input,
    wanted_output,
)

# binary_tensor_data, which the HTTP form has too, is an extension of JSON.
EXTENSIONS = ("classification",)


def read_message(message: Any, metadata: ModelMetadata, most: int) -> InferRequest:
    """Return the inference request in a ModelInferRequest.

    `most` is the number of pictures that one request may hold. Raises ProtocolError, saying what was expected.
    """
    tensor = the_input(message.inputs)
    given = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    shape = input_shape(given | {"parameters": _parameters(tensor)}, metadata.preprocessing.side, most)
    outputs = [{"name": output.name, "parameters": _parameters(output)} for output in message.outputs]
    wanted = wanted_output(outputs or None, True, len(metadata.labels))
    return InferRequest(_pictures(message, tensor.contents, shape), wanted, message.id)


def _parameters(of: Any) -> dict[str, Any]:
    """Return the parameters of an input or an output by name, None for one that has no value."""
    chosen = {name: (value, value.WhichOneof("parameter_choice")) for name, value in of.parameters.items()}
    return {name: getattr(value, kind) if kind else None for name, (value, kind) in chosen.items()}


def _pictures(message: Any, contents: Any, shape: list[int]) -> Pixels:
    """Return the pictures of the request's one input: its bytes, or the numbers in `contents`."""
    expected = math.prod(shape)
    filled = [field.name for field, _ in contents.ListFields()]
    if message.raw_input_contents:
        sizes = [len(data) for data in message.raw_input_contents]
        if filled or sizes != [expected]:
            raise ProtocolError(
                f"{INPUT} of shape {shape} takes {expected} bytes in raw_input_contents and no other contents; found "
                f"{sizes[0] if len(sizes) == 1 else f'{len(sizes)} tensors'}{' and contents' if filled else ''}"
            )
        return np.frombuffer(message.raw_input_contents[0], dtype=np.uint8).reshape(shape)
    if filled != ["uint_contents"]:
        raise ProtocolError(
            f"{INPUT} has {' and '.join(filled) or 'no contents'}, expected raw_input_contents or uint_contents"
        )
    numbers = np.array(contents.uint_contents, dtype=np.uint32)
    if len(numbers) != expected:
        raise ProtocolError(f"{INPUT} of shape {shape} takes {expected} numbers, found {len(numbers)}")
    if numbers.max() > 255:
        raise ProtocolError(f"the data of {INPUT} are not all whole numbers from 0 to 255")
    return numbers.astype(np.uint8).reshape(shape)


def write_message(name: str, request: InferRequest, probabilities: Floats, labels: tuple[str, ...]) -> bytes:
    """Return the ModelInferResponse that answers a request, serialised."""
    answered = output_tensor(probabilities, request.wanted.classes, labels)
    response = ModelInferResponse(
        model_name=name,
        model_version=VERSION,
        id=request.id,
        outputs=[{"name": OUTPUT, "datatype": answered.datatype, "shape": answered.shape}],
        raw_output_contents=[answered.data()],
    )
    data: bytes = response.SerializeToString()
    return data
