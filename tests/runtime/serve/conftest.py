"""`alexnet serve` as a process of its own, over the colour model."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime.conftest import colour_model
from tests.runtime.http_answer import Answer
from tests.runtime.serve.grpc_running import Running, running


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    port: int
    grpc_port: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def until_waiting(self, number: int, seconds: float = 20) -> None:
        """Wait until so many pictures of `model` have a place."""
        limit = time.monotonic() + seconds
        while f'waiting_pictures{{model="model"}} {number}.0' not in self.ask("GET", "/metrics").body.decode():
            assert time.monotonic() < limit, f"not {number} pictures wait"
            time.sleep(0.01)


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[Served]:
    """Start `alexnet serve` at a free port, or at two where `--grpc-port 0` is among the arguments, and end it."""
    line = [sys.executable, "-m", "alexnet", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            first = process.stdout.readline()
            assert first.startswith("http://127.0.0.1:"), process.stderr.read()
            ports = [int(address.rpartition(":")[2]) for address in first.partition("  (")[0].split("  ")]
            yield Served(process, *ports)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two models, `colours` and `sharp`, which differ in their gain."""
    folder = tmp_path_factory.mktemp("models")
    colours, sharp = colour_model(folder / "colours.onnx"), colour_model(folder / "b.onnx", gain=0.1)
    with serving("--engine", colours, "--engine", f"sharp={sharp}", "--grpc-port", "0") as server:
        yield server


@pytest.fixture
def seconds() -> float:
    """What a client of the gRPC server may take over what it owes; a test may give another number."""
    return 0.5


@pytest.fixture
def server(seconds: float) -> Iterator[Running]:
    """The gRPC server in this process."""
    with running(seconds) as one:
        yield one
