"""What a hostile client sends to a real server: the answer is an error in JSON, and the next request is answered."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.runtime.conftest import SIDE, colour_model, png
from tests.runtime.serve.conftest import Served, serving

GREEN = png((20, 230, 20))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def noise() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(file, "JPEG")
    return file.getvalue()


def is_well(served: Served) -> bool:
    answer = served.ask("POST", "/v1/classify", GREEN)
    return answer.status == 200 and answer.json["classes"][0]["label"] == "green"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not a picture"),
        (b"only words", "it is text"),
        (b"GIF89a" * 9, "it is a GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (noise()[:900], "truncated or damaged"),
        (bomb(100_000, 100_000), "pixels"),
        (bomb(6000, 5000), "the limit is 25,000,000"),
        (os.urandom(1000), "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(served: Served, body: bytes, words: str) -> None:
    answer = served.ask("POST", "/v1/classify", body)
    assert answer.status == 400
    assert words in answer.json["error"]
    assert is_well(served)


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "9" * 5000, "1.5"])
def test_a_number_of_classes_that_is_none_is_refused(served: Served, top: str) -> None:
    answer = served.ask("POST", f"/v1/classify?top={top}", GREEN)
    assert (answer.status, "top is not a number" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/colours/versions/2", 404),
        ("GET", "/v2/models/colours/infer", 405),
        ("DELETE", "/v2/models/colours", 405),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/repository/index", 404),
        ("POST", "/v1/classify?model=none", 404),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404),
    ],
)
def test_other_paths_and_methods_are_refused_in_json(served: Served, method: str, path: str, status: int) -> None:
    answer = served.ask(method, path, b"{}" if method == "POST" else None)
    assert (answer.status, list(answer.json)) == (status, ["error"])


def test_a_request_that_lies_is_refused_and_the_next_is_answered(served: Served) -> None:
    given = {"name": "pictures", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
    head = json.dumps({"inputs": [given | {"parameters": {"binary_data_size": 10**9}}]}).encode()
    infer = "/v2/models/colours/infer"
    for body, length in ((head, str(len(head))), (head + b"0" * 99, str(len(head))), (head, "99999"), (head, "x")):
        answer = served.ask("POST", infer, body, Inference_Header_Content_Length=length)
        assert (answer.status, list(answer.json)) == (400, ["error"])
    assert served.ask("POST", infer, b"[" * 1_000_000).status == 400
    assert (
        served.ask("POST", infer, json.dumps({"inputs": [given | {"shape": [65, SIDE, SIDE, 3]}]}).encode()).status
        == 400
    )
    assert is_well(served)


def test_a_body_over_the_limit_is_refused(served: Served) -> None:
    with socket.create_connection(served.address, timeout=20) as client:
        client.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 20000001\r\n\r\n")
        answer = b""
        while b"}" not in answer and (block := client.recv(1000)):
            answer += block
    assert answer.startswith(b"HTTP/1.1 413") and b"more than 20,000,000 bytes" in answer
    assert is_well(served)


def test_slow_clients_do_not_hold_others_up(served: Served) -> None:
    begun = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\n"
    for sent in (b"", b"POST", begun, begun + b"Content-Length: 1000\r\n\r\n" + b"0" * 10):
        clients = [socket.create_connection(served.address) for _ in range(80)]
        for client in clients:
            client.sendall(sent)
        assert is_well(served)
        for client in clients:
            client.close()
    assert is_well(served)


def test_a_client_that_goes_gives_its_places_back(tmp_path: Path) -> None:
    body = png((10, 20, 30))
    head = f"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    # A batch of 8 would be waited for longer than the test runs.
    arguments = ("--engine", colour_model(tmp_path / "model.onnx"), "--delay", "10000", "--batch", "8", "--queue", "3")
    with serving(*arguments) as server:
        clients = [socket.create_connection(server.address) for _ in range(3)]
        for client in clients:
            client.sendall(head + body)
        server.until_waiting(3)
        assert server.ask("POST", "/v1/classify", body).status == 503
        for client in clients:
            client.close()
        server.until_waiting(0, seconds=5)


def test_memory_stays_bounded_under_a_flood(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = colour_model(tmp_path_factory.mktemp("flood") / "model.onnx")
    large = io.BytesIO()
    Image.new("RGB", (3000, 3000), (20, 230, 20)).save(large, "PNG")
    with serving("--engine", model, "--queue", "4") as server, ThreadPoolExecutor(16) as pool:
        assert is_well(server)
        answers = list(pool.map(lambda _: server.ask("POST", "/v1/classify", large.getvalue()).status, range(16)))
        assert set(answers) <= {200, 503} and answers.count(200) >= 4
        with open(f"/proc/{server.process.pid}/status") as file:  # noqa: PTH123
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        # Four pictures of 27 MB, twice while they are resized; sixteen at once would take 800 MB more.
        assert peak < 400_000
        assert is_well(server)
