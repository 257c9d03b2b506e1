"""Silent and greedy clients, and faults, against the gRPC server in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from alexnet.errors import InputError
from alexnet.runtime.serve import grpc_server
from alexnet.runtime.serve.bodies import LARGEST_ONES, Bodies
from alexnet.runtime.serve.metrics import Metrics
from alexnet.runtime.serve.service import Service
from tests.runtime.serve.grpc_running import INFER, LARGEST, PLACES, Running, refused, until


def nothing(go: threading.Event) -> Iterator[bytes]:
    """Messages that do not come."""
    go.wait(20)
    yield from ()


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
    """grpcio 1.76 forgot its bound after the first refusals (grpc/grpc, issue 41531)."""
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


def test_a_second_server_does_not_share_the_port(server: Running) -> None:
    async def second() -> None:
        with ThreadPoolExecutor(1) as decoders:
            service = Service({}, Bodies(LARGEST), decoders, Metrics(), print)
            await grpc_server.listening(service, f"127.0.0.1:{server.port}")

    with pytest.raises(InputError, match="give another --host or --grpc-port"):
        asyncio.run(second())
