"""Slow, broken and hostile clients, and faults, against the gRPC server in this process, its deadlines shortened."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from alexnet.errors import ModelError
from alexnet.runtime.classify import Runner
from alexnet.runtime.serve import grpc_server
from alexnet.runtime.serve.batcher import Batcher, Batching
from alexnet.runtime.serve.bodies import LARGEST_ONES, Bodies
from alexnet.runtime.serve.metrics import Metrics
from alexnet.runtime.serve.service import Model, Service
from tests.runtime.conftest import SIDE, metadata

LARGEST = 100_000
PLACES = 8
# Calls at once, one of them beside those that have places.
CALLS = PLACES + 1
INFER = "/inference.GRPCInferenceService/ModelInfer"


class Fake:
    """A backend that answers thirds, fails as the first value of a picture says, and can be held up."""

    name = device = precision = "fake"
    metadata = metadata()
    largest_batch = None

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        assert self.go.wait(10)
        if pictures[0, 0, 0, 0] == 1:
            raise ModelError("the model is worn out")
        if pictures[0, 0, 0, 0] == 2:
            raise ZeroDivisionError("secret")
        return np.full((len(pictures), 3), 1 / 3, dtype=np.float32)

    def close(self) -> None:
        """Nothing is to be freed."""


@dataclass
class Running:
    """The server, what it said, and a client of it."""

    port: int
    bodies: Bodies
    backend: Fake
    batcher: Batcher
    said: list[str]
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = GRPCInferenceServiceStub(self.channel)

    def infer(self, first: int = 0, name: str = "m") -> Any:
        """Send a picture with a first value, and return the future of its answer."""
        picture = bytes([first]) + bytes(SIDE * SIDE * 3 - 1)
        tensor = {"name": "pictures", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
        request = messages.ModelInferRequest(model_name=name, inputs=[tensor], raw_input_contents=[picture])
        return self.stub.ModelInfer.future(request, timeout=20)

    def is_well(self) -> bool:
        """Whether a request is answered, once calls that were broken off have ended, and nothing of others is held."""
        return until(lambda: refusal(self) is None) and until(lambda: self.bodies.held == self.batcher.held == 0)


def until(condition: Any) -> bool:
    limit = time.monotonic() + 10
    while not (true := condition()) and time.monotonic() < limit:
        time.sleep(0.01)
    return bool(true)


@pytest.fixture
def seconds() -> float:
    """What a client may take over what it owes; a test may give another number."""
    return 0.5


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[Running]:
    monkeypatch.setattr(grpc_server, "SECONDS", seconds)
    monkeypatch.setattr(grpc_server, "CALLS", CALLS - PLACES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started, ended = threading.Event(), asyncio.Event()
    found: list[Running] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def whole() -> None:
        backend, bodies, said = Fake(), Bodies(LARGEST), list[str]()
        batcher = Batcher([Runner(backend, 8, None, None)], Batching(8, 0.0, PLACES), lambda number, seconds: None)
        model = Model("m", "onnx_onnxv1", backend, batcher)
        with ThreadPoolExecutor(2) as decoders:
            service = Service({"m": model}, bodies, decoders, Metrics(), said.append)
            listening = await grpc_server.listening(service, f"127.0.0.1:{port}")
            found.append(Running(port, bodies, backend, batcher, said))
            loops.append(asyncio.get_running_loop())
            started.set()
            await ended.wait()
            await listening.stop(0)
            await batcher.close()

    thread = threading.Thread(target=asyncio.run, args=(whole(),))
    thread.start()
    assert started.wait(20)
    yield found[0]
    found[0].backend.go.set()
    found[0].channel.close()
    loops[0].call_soon_threadsafe(ended.set)
    thread.join(20)
    assert not thread.is_alive()


def nothing(go: threading.Event) -> Iterator[bytes]:
    """Messages that do not come."""
    go.wait(20)
    yield from ()


def refused(call: Any) -> tuple[str, str]:
    """The status and the words of a call that is refused."""
    with pytest.raises(grpc.RpcError) as found:
        call.result()
    return found.value.code().name, found.value.details()


def test_a_client_that_sends_no_message_is_ended(server: Running) -> None:
    go = threading.Event()
    began = time.monotonic()
    call = server.channel.stream_unary(INFER).future(nothing(go), timeout=20)
    assert refused(call) == ("DEADLINE_EXCEEDED", "the message took over 0 seconds")
    assert time.monotonic() - began < 10
    go.set()
    call = server.channel.stream_unary(INFER).future(iter(()), timeout=20)
    assert refused(call) == ("INVALID_ARGUMENT", "no ModelInferRequest came")
    assert server.is_well()


@pytest.mark.parametrize("method", ["ServerLive", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"])
def test_what_is_no_message_is_refused(server: Running, method: str) -> None:
    name_that_is_no_text = [b"\x0a\x02\xff\xfe"] if method.startswith("Model") else []
    for data in (b"\xff", b"\x0a\xff\xff\xff\xff\x0fabc", *name_that_is_no_text):
        call = server.channel.unary_unary(INFER.replace("ModelInfer", method)).future(data, timeout=20)
        assert refused(call) == ("INVALID_ARGUMENT", f"what came is no {method}Request")
    assert server.is_well()


def test_other_methods_and_services_are_unimplemented(server: Running) -> None:
    for path in ("/a/b", INFER + "2", "/grpc.health.v1.Health/Check"):
        assert refused(server.channel.unary_unary(path).future(b"", timeout=20))[0] == "UNIMPLEMENTED"


def test_faults_are_said_and_answered(server: Running) -> None:
    assert refused(server.infer(1)) == ("INTERNAL", "the model is worn out")
    assert refused(server.infer(2)) == ("INTERNAL", "a fault of the server, which has reported it")
    assert server.said == ["the model is worn out", "a fault of the toolchain: ZeroDivisionError: secret"]
    assert server.is_well()


def test_words_fit_into_headers_whatever_the_client_sent(server: Running) -> None:
    code, words = refused(server.infer(name="\N{SNOWMAN}" * 30_000))
    assert code == "NOT_FOUND" and words.startswith("there is no model '\N{SNOWMAN}")


@pytest.mark.parametrize("seconds", [10.0])
def test_a_call_that_is_one_too_many_is_refused_time_and_again(server: Running) -> None:
    """grpcio before 1.80 or so forgot its bound after the first refusals."""
    go = threading.Event()
    for _ in range(3):
        server.backend.go.clear()
        calls = [server.infer() for _ in range(PLACES)]
        assert until(lambda: server.batcher.held == PLACES)
        assert refused(server.infer()) == ("RESOURCE_EXHAUSTED", "8 pictures are waiting, of 8 at most; try again")
        silent = server.channel.stream_unary(INFER).future(nothing(go), timeout=20)
        assert until(lambda: refused(server.infer()) == ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!"))
        for _ in range(4):
            assert refused(server.infer())[1] == "Concurrent RPC limit exceeded!"
        silent.cancel()
        server.backend.go.set()
        assert all(call.result() for call in calls)
        # A call ends here a moment after its client has the answer.
        assert server.is_well()
    go.set()


def test_a_connection_whose_call_takes_long_is_not_idle(server: Running) -> None:
    server.backend.go.clear()
    call = server.infer()
    time.sleep(2)
    server.backend.go.set()
    assert len(call.result().raw_output_contents[0]) == 12


def test_a_client_that_rested_is_answered_when_it_comes_back(server: Running) -> None:
    for _ in range(3):
        assert len(server.infer().result().raw_output_contents[0]) == 12
        time.sleep(1.2)


def test_the_sum_of_all_bodies_is_bounded(server: Running) -> None:
    taken = LARGEST * LARGEST_ONES - 1000
    server.bodies.held += taken
    with pytest.raises(grpc.RpcError, match="bytes of other requests are being worked on; try again") as found:
        server.infer().result()
    assert found.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "1000") in found.value.trailing_metadata()
    server.bodies.held -= taken
    assert server.is_well()


def frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def text(words: str) -> bytes:
    """A string of HPACK, up to 126 characters, as it is."""
    return bytes([len(words)]) + words.encode()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = frame(4, 0, 0, b"")
# INITIAL_WINDOW_SIZE 0: nothing of an answer may be sent.
CLOSED_WINDOW = frame(4, 0, 0, struct.pack(">HI", 4, 0))
HEADERS = (
    b"\x83\x86\x44" + text(INFER) + b"\x41" + text("a")
    + b"\0" + text("content-type") + text("application/grpc") + b"\0" + text("te") + text("trailers")
)  # fmt: skip


@pytest.mark.parametrize("seconds", [3.0])
def test_an_answer_that_is_not_read_does_not_hold_its_call_for_ever(server: Running) -> None:
    assert server.is_well()
    live = INFER.replace("ModelInfer", "ServerLive")
    headers = HEADERS.replace(text(INFER), text(live))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(PREFACE + CLOSED_WINDOW)
        for stream in range(1, 199, 2):
            client.sendall(frame(1, 4, stream, headers) + frame(0, 1, stream, b"\0\0\0\0\0"))
            if refusal(server):
                break
        else:
            pytest.fail("no call was held")
        assert until(lambda: refusal(server) is None)
    assert server.is_well()


def refusal(server: Running) -> grpc.StatusCode | None:
    """The status of a call that is refused, None when it is answered."""
    error = server.infer().exception()
    return error.code() if error else None


NOISE = np.random.default_rng(0).bytes(5000)
BEGUN = PREFACE + SETTINGS + frame(1, 4, 1, HEADERS)
HOSTILE = {
    "nothing": b"",
    "half a preface": b"PRI",
    "noise": NOISE,
    "HTTP/1.1": b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01" + NOISE[:200],
    "preface": PREFACE,
    "preface and noise": PREFACE + NOISE,
    "no calls": PREFACE + SETTINGS,
    "pings": PREFACE + SETTINGS + frame(6, 0, 0, b"12345678") * 10_000,
    "large frame": PREFACE + SETTINGS + b"\xff\xff\xff\x00\0\0\0\0\x01",
    "headers without an end": PREFACE + SETTINGS + frame(1, 0, 1, b"\0" * 256),
    "length of 4 GB": BEGUN + frame(0, 0, 1, b"\0\xff\xff\xff\xffabc"),
    "length that does not come": BEGUN + frame(0, 0, 1, b"\0\0\0\0\x64abc"),
    "compressed": BEGUN + frame(0, 1, 1, b"\x01\0\0\0\x03abc"),
    "resets": BEGUN + b"".join(frame(1, 4, n, HEADERS) + frame(3, 0, n, b"\0\0\0\x08") for n in range(3, 999, 2)),
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
def test_bytes_that_are_hostile_leave_the_server_serving(server: Running, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        try:
            client.sendall(sent)
            assert server.is_well()
            while client.recv(65_536):
                pass
        except ConnectionError:
            pass
    assert server.is_well()
    assert server.said == []


def test_a_second_server_does_not_share_the_port(server: Running) -> None:
    async def second() -> None:
        with ThreadPoolExecutor(1) as decoders:
            service = Service({}, Bodies(LARGEST), decoders, Metrics(), print)
            await grpc_server.listening(service, f"127.0.0.1:{server.port}")

    with pytest.raises(grpc_server.InputError, match="give another --host or --grpc-port"):
        asyncio.run(second())
