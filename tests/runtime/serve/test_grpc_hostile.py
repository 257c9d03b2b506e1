"""What a hostile client sends to the gRPC port, as bytes: the server goes on serving."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest

from tests.runtime.serve.grpc_running import INFER, Running, refusal, until


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
