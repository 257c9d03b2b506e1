"""Slow and broken clients against uvicorn with our connections, its deadlines shortened."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alexnet.runtime.serve import bodies, connection
from alexnet.runtime.serve.bodies import Bodies
from alexnet.runtime.serve.connection import BoundedConnection

LARGEST = 100_000
Address = tuple[str, int]


@pytest.fixture
def held() -> Bodies:
    return Bodies(LARGEST)


@pytest.fixture
def address(held: Bodies, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """A server that answers the length of a body, and at /long a long answer."""
    monkeypatch.setattr(connection, "SECONDS", 0.5)
    monkeypatch.setattr(bodies, "SECONDS", 0.5)

    async def length(request: Request) -> Response:
        try:
            async with held.body(request) as body:
                return JSONResponse(len(body))
        except HTTPException as error:
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    async def long(request: Request) -> Response:
        return Response(b"0" * 50_000_000)

    app = Starlette(routes=[Route("/", length, methods=["GET", "POST"]), Route("/long", long)])
    config = uvicorn.Config(app, http=BoundedConnection, lifespan="off", log_config=None, ws="none", loop="asyncio")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@contextlib.contextmanager
def talking(address: Address, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(sent)
        yield client


def rest(client: socket.socket) -> bytes:
    """Return what comes until the server closes."""
    blocks = []
    with contextlib.suppress(ConnectionResetError):
        while block := client.recv(1 << 16):
            blocks.append(block)
    return b"".join(blocks)


def head(length: int, more: str = "") -> bytes:
    return f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{more}\r\n".encode()


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST / HTTP/1.1\r\nHost: a\r\n"])
def test_headers_that_do_not_come_end_the_connection(address: Address, sent: bytes) -> None:
    with talking(address, sent) as client:
        assert rest(client) == b""


def test_headers_that_trickle_end_the_connection_too(address: Address) -> None:
    with talking(address, b"GET / HTTP/1.1\r\n") as client, pytest.raises(OSError):
        for _ in range(100):
            client.sendall(b"a: b\r\n")
            time.sleep(0.05)


def test_a_body_that_does_not_come_is_answered_and_let_go(address: Address, held: Bodies) -> None:
    with talking(address, head(1000) + b"0" * 10) as client:
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 408") and b"the body took over" in answer
    assert held.held == 0


def test_a_client_that_goes_away_leaves_nothing_behind(address: Address, held: Bodies) -> None:
    with talking(address, head(1000) + b"0" * 10):
        while not held.held:
            time.sleep(0.01)
    limit = time.monotonic() + 20
    while held.held and time.monotonic() < limit:
        time.sleep(0.01)
    assert held.held == 0


def test_a_body_over_the_limit_is_refused_before_it_is_sent(address: Address) -> None:
    with talking(address, head(LARGEST + 1)) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_held_to_the_limit_too(address: Address, held: Bodies) -> None:
    chunk = b"8000\r\n" + b"0" * 0x8000 + b"\r\n"
    with talking(address, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") as client:
        with contextlib.suppress(OSError):
            for _ in range(100):
                client.sendall(chunk)
        assert rest(client).startswith(b"HTTP/1.1 413")
    assert held.held == 0


def test_what_follows_a_refusal_is_not_read_for_ever(address: Address) -> None:
    began = time.monotonic()
    with talking(address, head(10**15)) as client, pytest.raises(OSError):
        while time.monotonic() < began + 10:
            client.sendall(b"0" * 10_000)
            time.sleep(0.02)


def test_the_sum_of_all_bodies_is_bounded(address: Address, held: Bodies) -> None:
    with contextlib.ExitStack() as clients:
        for _ in range(bodies.LARGEST_ONES):
            clients.enter_context(talking(address, head(LARGEST) + b"0" * (LARGEST - 1)))
        while held.held < bodies.LARGEST_ONES * (LARGEST - 1):
            time.sleep(0.01)
        with talking(address, head(LARGEST, "Connection: close\r\n") + b"0" * LARGEST) as client:
            answer = rest(client)
        assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in answer


def test_a_compressed_body_is_refused(address: Address) -> None:
    with talking(address, head(5, "Content-Encoding: gzip\r\n") + b"01234") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 415")


def test_an_answer_that_is_not_read_ends_the_connection(address: Address) -> None:
    with talking(address, b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        time.sleep(1.5)
        assert len(rest(client)) < 50_000_000


def test_an_answer_that_is_read_is_whole(address: Address) -> None:
    with talking(address, b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as client:
        assert len(rest(client).partition(b"\r\n\r\n")[2]) == 50_000_000


def test_what_is_no_http_is_refused(address: Address) -> None:
    with talking(address, b"\x16\x03\x01 hello\r\n\r\n") as client:
        assert rest(client).startswith(b"HTTP/1.1 400")
    with talking(address, b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 200_000) as client:
        assert b"HTTP/1.1 4" in rest(client)[:20]


def test_one_connection_too_many_is_told_so(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS", 2)
    with talking(address, b"G"), talking(address, b"G"), talking(address, b"") as third:
        answer = rest(third)
        assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After: 1" in answer
        assert answer.endswith(b'{"error": "too many connections"}\r\n')
        length = int(answer.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
        assert len(answer.partition(b"\r\n\r\n")[2]) == length
    while True:
        with talking(address, head(3, "Connection: close\r\n") + b"abc") as client:
            if rest(client).endswith(b"3"):
                break


def test_a_connection_is_kept_for_the_next_request(address: Address) -> None:
    with talking(address, head(3) + b"abc") as client:
        answer = b""
        while not answer.endswith(b"\r\n\r\n3"):
            block = client.recv(1000)
            assert block
            answer += block
        client.sendall(head(4, "Connection: close\r\n") + b"abcd")
        assert rest(client).endswith(b"4")
