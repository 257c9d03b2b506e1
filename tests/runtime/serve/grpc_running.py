"""The gRPC server in this process, its deadlines shortened, over a model that can fail and be held up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
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
from alexnet.runtime.serve.bodies import Bodies
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


def refused(call: Any) -> tuple[str, str]:
    """The status and the words of a call that is refused."""
    with pytest.raises(grpc.RpcError) as found:
        call.result()
    return found.value.code().name, found.value.details()


def refusal(server: Running) -> grpc.StatusCode | None:
    """The status of a call that is refused, None when it is answered."""
    error = server.infer().exception()
    return error.code() if error else None


@contextlib.contextmanager
def running(seconds: float) -> Iterator[Running]:
    """Run the server in a thread; `seconds` is what a client may take over what it owes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_server, "SECONDS", seconds)
        patch.setattr(grpc_server, "CALLS", CALLS - PLACES)
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
        try:
            yield found[0]
        finally:
            found[0].backend.go.set()
            found[0].channel.close()
            loops[0].call_soon_threadsafe(ended.set)
            thread.join(20)
            assert not thread.is_alive()
