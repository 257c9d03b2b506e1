from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

from alexnet.runtime.serve.grpc_protocol import read_message, write_message
from alexnet.runtime.serve.protocol import ProtocolError, Wanted
from tests.runtime.conftest import LABELS, SIDE, metadata

BYTES = SIDE * SIDE * 3
PICTURE = bytes(place % 256 for place in range(BYTES))


def message(raw: bytes | None = PICTURE, **of_input: Any) -> Any:
    """A request of one picture as bytes, None for none, with other values for its input."""
    given = {"name": "pictures", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], **of_input}
    return ModelInferRequest(model_name="m", inputs=[given], raw_input_contents=[] if raw is None else [raw])


def numbers(**contents: Any) -> Any:
    """A request of one picture in typed contents."""
    return message(None, contents=contents)


def read(given: Any) -> Any:
    return read_message(given, metadata(), most=4)


def test_bytes_and_numbers_are_the_same() -> None:
    for given in (message(), numbers(uint_contents=PICTURE)):
        request = read(ModelInferRequest.FromString(given.SerializeToString()))
        assert (request.pictures.shape, request.pictures.dtype) == ((1, SIDE, SIDE, 3), np.uint8)
        assert request.pictures.tobytes() == PICTURE
        assert request.wanted == Wanted(True)


def changed(change: Callable[[Any], None]) -> Any:
    given = message()
    change(given)
    return given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ModelInferRequest(), "0 inputs"),
        (changed(lambda given: given.inputs.add()), "2 inputs"),
        (message(name="other"), "'other' of datatype 'UINT8'"),
        (message(datatype="FP32"), "of datatype 'FP32', expected 'pictures' of UINT8"),
        (message(shape=[1, SIDE, SIDE]), "another shape"),
        (message(shape=[1, 3, SIDE, SIDE]), "another shape"),
        (message(shape=[0, SIDE, SIDE, 3]), "another shape"),
        (message(shape=[-1, SIDE, SIDE, 3]), "another shape"),
        (message(shape=[2**63 - 1, SIDE, SIDE, 3]), "N from 1 to 4"),
        (message(shape=[2, SIDE, SIDE, 3]), f"takes {2 * BYTES} bytes in raw_input_contents .* found {BYTES}"),
        (message(b""), "found 0"),
        (message(PICTURE[1:]), f"found {BYTES - 1}"),
        (changed(lambda given: given.raw_input_contents.append(b"a")), "found 2 tensors"),
        (message(contents={"uint_contents": [1]}), f"found {BYTES} and contents"),
        (message(None), "has no contents, expected raw_input_contents or uint_contents"),
        (numbers(int_contents=[1]), "has int_contents"),
        (numbers(bytes_contents=[PICTURE]), "has bytes_contents"),
        (numbers(uint_contents=PICTURE, fp32_contents=[1.0]), "has uint_contents and fp32_contents"),
        (numbers(uint_contents=PICTURE[1:]), f"takes {BYTES} numbers, found {BYTES - 1}"),
        (numbers(uint_contents=[256] * BYTES), "whole numbers from 0 to 255"),
        (message(parameters={"shared_memory_region": {"string_param": "a"}}), "shared memory"),
        (changed(lambda given: given.outputs.add(name="other")), "the output is 'other'"),
        (changed(lambda given: [given.outputs.add() for _ in range(2)]), "2 outputs"),
    ],
)
def test_what_is_not_as_the_protocol_has_it_is_said(given: Any, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read(given)


@pytest.mark.parametrize(
    "value", [{"int64_param": -1}, {"string_param": "2"}, {"bool_param": True}, {"double_param": 2.0}, {}]
)
def test_a_number_of_classes_that_is_none_is_said(value: dict[str, Any]) -> None:
    output = {"name": "probabilities", "parameters": {"classification": value}}
    with pytest.raises(ProtocolError, match="classification"):
        read(changed(lambda given: given.outputs.append(ModelInferRequest.InferRequestedOutputTensor(**output))))


def test_the_answer_is_bytes_and_the_id_comes_back() -> None:
    probabilities = np.array([[0.25, 0.5, 0.25]], dtype=np.float32)
    request = read(changed(lambda given: setattr(given, "id", "a")))
    answer = ModelInferResponse.FromString(write_message("m", request, probabilities, LABELS))
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "a")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("probabilities", "FP32", [1, 3])
    assert list(answer.raw_output_contents) == [probabilities.tobytes()]
