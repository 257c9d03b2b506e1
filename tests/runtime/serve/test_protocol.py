from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from alexnet.runtime.serve.protocol import ProtocolError, Wanted, read_request, write_answer
from tests.runtime.conftest import LABELS, SIDE, metadata

PICTURE = [[[1, 2, 3]] * SIDE] * SIDE
BYTES = SIDE * SIDE * 3


def body(of_request: dict[str, Any] | None = None, **of_input: Any) -> bytes:
    """A request of one picture in JSON, with other values for its input, None for none, and more for the request."""
    given = {"name": "pictures", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [PICTURE], **of_input}
    inputs = [{key: value for key, value in given.items() if value is not None}]
    return json.dumps({"inputs": inputs, **(of_request or {})}).encode()


def read(data: bytes, header: str | None = None) -> Any:
    return read_request(data, header, metadata(), most=4)


def test_nested_flat_and_binary_tensors_are_the_same() -> None:
    flat = [value for row in PICTURE for pixel in row for value in pixel]
    head = body(data=None, parameters=None, datatype="UINT8")
    values = json.loads(head)
    values["inputs"][0]["parameters"] = {"binary_data_size": BYTES}
    head = json.dumps(values).encode()
    found = [read(body()), read(body(data=flat)), read(head + bytes(flat), str(len(head)))]
    for request in found:
        assert (request.pictures.shape, request.pictures.dtype) == ((1, SIDE, SIDE, 3), np.uint8)
        assert np.array_equal(request.pictures, found[0].pictures)
        assert (request.wanted, request.id) == (Wanted(), None)
    assert found[0].pictures[0, 3, 4].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[]", "the request is not a JSON object"),
        (b"{}", "no list 'inputs'"),
        (b'{"inputs": []}', "0 inputs"),
        (b'{"inputs": [1]}', "an input is not a JSON object"),
        (body(name="other"), "'other' of datatype 'UINT8'"),
        (body(datatype="FP32"), "of datatype 'FP32', expected 'pictures' of UINT8"),
        (body(datatype=["UINT8"]), "of datatype"),
        (body(shape=[1, SIDE, SIDE]), "another shape"),
        (body(shape=[1, 3, SIDE, SIDE]), "another shape"),
        (body(shape=[0, SIDE, SIDE, 3]), "another shape"),
        (body(shape=[-1, SIDE, SIDE, 3]), "another shape"),
        (body(shape=[True, SIDE, SIDE, 3]), "another shape"),
        (body(shape=[1.0, SIDE, SIDE, 3]), "another shape"),
        (body(shape=[5, SIDE, SIDE, 3]), "N from 1 to 4"),
        (body(shape=[10**30, SIDE, SIDE, 3]), "N from 1 to 4"),
        (body(shape="1"), "no list 'shape'"),
        (body(shape=[2, SIDE, SIDE, 3]), "are 1 pictures, its shape says 2"),
        (body(data=None), "has no data"),
        (body(data={}), "has no data"),
        (body(data=[]), "found 0"),
        (body(data=[1, 2, 3]), "found 3"),
        (body(data=[[]]), "not nested as its shape"),
        (body(data=[PICTURE[:-1]]), "not nested as its shape"),
        (body(data=[[[[1, 2]] * SIDE] * SIDE]), "not nested as its shape"),
        (body(data=[[[1] * SIDE] * SIDE]), "not nested as its shape"),
        (body(data=[256] * BYTES), "whole numbers from 0 to 255"),
        (body(data=[-1] * BYTES), "whole numbers from 0 to 255"),
        (body(data=[0.5] * BYTES), "whole numbers from 0 to 255"),
        (body(data=[True] * BYTES), "whole numbers from 0 to 255"),
        (body(data=["1"] * BYTES), "whole numbers from 0 to 255"),
        (body(data=[*[0] * (BYTES - 1), "x" * 10_000]), "whole numbers from 0 to 255"),
        (body({"parameters": []}), "parameters of the request is not"),
        (body({"id": 7}), "the id is not a string"),
        (body({"outputs": {}}), "no list 'outputs'"),
        (body({"outputs": []}), "0 outputs"),
        (body({"outputs": [{"name": "other"}]}), "the output is 'other'"),
        (body({"outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]}), "classification"),
        (body({"outputs": [{"name": "probabilities", "parameters": {"classification": True}}]}), "classification"),
        (body({"outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "a"}}]}), "shared memory"),
    ],
)
def test_what_is_not_as_the_protocol_has_it_is_said(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read(data)


@pytest.mark.parametrize("header", ["", "-1", "x", "1e3", "99999999", "9" * 5000, "\N{SUPERSCRIPT TWO}", "+5"])
def test_a_length_of_the_json_that_is_none_is_said(header: str) -> None:
    with pytest.raises(ProtocolError, match="Inference-Header-Content-Length"):
        read(body(), header)


@pytest.mark.parametrize("size", [0, 1, BYTES - 1, BYTES + 1, -BYTES, 1e3, "x", True, 10**30])
def test_lengths_of_binary_tensors_must_be_true(size: object) -> None:
    head = body(data=None, parameters={"binary_data_size": size})
    for follow in (0, 1, BYTES - 1, BYTES, BYTES + 1):
        with pytest.raises(ProtocolError, match=f"{follow} bytes follow"):
            read(head + b"\0" * follow, str(len(head)))


def test_bytes_that_nothing_names_and_data_twice_are_refused() -> None:
    with pytest.raises(ProtocolError, match="3 bytes follow the JSON"):
        read(body() + b"abc", str(len(body())))
    head = body(parameters={"binary_data_size": BYTES})
    with pytest.raises(ProtocolError, match="no data in it"):
        read(head + bytes(BYTES), str(len(head)))
    with pytest.raises(ProtocolError, match="shared memory is not supported"):
        read(body(parameters={"shared_memory_region": "a"}))


def test_the_answer_is_json_unless_bytes_are_asked_for() -> None:
    probabilities = np.array([[0.25, 0.5, 0.25]], dtype=np.float32)
    answer, length = write_answer("m", read(body({"id": "a"})), probabilities, LABELS)
    assert length is None
    assert json.loads(answer) == {
        "model_name": "m",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.25, 0.5, 0.25]}],
    }
    binary = read(body({"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}))
    answer, length = write_answer("m", binary, probabilities, LABELS)
    assert length is not None and np.array_equal(np.frombuffer(answer[length:], "<f4"), probabilities[0])
    assert json.loads(answer[:length])["outputs"][0]["parameters"] == {"binary_data_size": 12}


def test_an_output_may_differ_from_what_the_request_says_of_all() -> None:
    everything = {"parameters": {"binary_data_output": True}}
    assert read(body(everything)).wanted == Wanted(binary=True)
    plain = [{"name": "probabilities", "parameters": {"binary_data": False, "classification": 9}}]
    assert read(body({**everything, "outputs": plain})).wanted == Wanted(False, 3)
