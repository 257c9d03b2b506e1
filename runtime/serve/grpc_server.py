"""The gRPC form of the server: the service GRPCInferenceService of the Open Inference Protocol v2, each call bounded.

It answers with the same `Service` as the HTTP form, in the same event loop. Every method takes one message and gives
one, as the protocol has it, but reads its message itself, as bytes: gRPC's own reading would wait for a silent client
for ever, and would parse in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException

from alexnet import __version__
from alexnet.errors import InputError
from alexnet.runtime.backends import Pixels
from alexnet.runtime.serve.bodies import SECONDS
from alexnet.runtime.serve.connection import CONNECTIONS
from alexnet.runtime.serve.protocol import VERSION, InferRequest, model_description
from alexnet.runtime.serve.service import Model, Service

# gRPC would write what hostile clients send to standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as messages

from alexnet.runtime.serve.grpc_protocol import EXTENSIONS, read_message, write_message

SERVICE = "inference.GRPCInferenceService"
# Calls at once beside those that have places in a queue; one more is told to try again.
CALLS = 64
# Characters of an error: gRPC sends it among the headers, of which clients take 8 kB.
WORDS = 500
CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.INTERNAL_SERVER_ERROR: grpc.StatusCode.INTERNAL,
}
# What a refused client is told to wait, as Retry-After tells it over HTTP (gRPC's proposal A6, client retries).
AGAIN = (("grpc-retry-pushback-ms", "1000"),)


@dataclass
class Call:
    """One call: what reads its message, and the name of the model that it turned out to be for."""

    read: Callable[[], Awaitable[Any]]
    model: str = ""


Answer = Callable[[Call], Awaitable[bytes]]


@dataclass(frozen=True)
class GrpcApi:
    """What answers the calls."""

    service: Service

    def handler(self) -> Any:
        """Return the handler of the service's methods; others are answered UNIMPLEMENTED."""
        methods: dict[str, Answer] = {
            "ServerLive": partial(self._fixed, messages.ServerLiveRequest, messages.ServerLiveResponse(live=True)),
            "ServerReady": partial(self._fixed, messages.ServerReadyRequest, messages.ServerReadyResponse(ready=True)),
            "ServerMetadata": partial(
                self._fixed,
                messages.ServerMetadataRequest,
                messages.ServerMetadataResponse(name="alexnet", version=__version__, extensions=EXTENSIONS),
            ),
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.infer,
        }
        # To a client a method that takes a stream of one message is one that takes a message.
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._counted(answer)) for name, answer in methods.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _fixed(self, kind: Any, answer: Any, call: Call) -> bytes:
        """Answer what is always so: the server does not listen before its models are ready."""
        async with self._message(kind, call):
            return _serialised(answer)

    async def model_ready(self, call: Call) -> bytes:
        """Answer whether a model is ready: it is when it is there."""
        async with self._message(messages.ModelReadyRequest, call) as message:
            try:
                self._model(call, message.name, message.version)
            except HTTPException:
                return _serialised(messages.ModelReadyResponse(ready=False))
            return _serialised(messages.ModelReadyResponse(ready=True))

    async def model_metadata(self, call: Call) -> bytes:
        """Answer what a model takes and gives."""
        async with self._message(messages.ModelMetadataRequest, call) as message:
            model = self._model(call, message.name, message.version)
            description = model_description(model.name, model.platform, model.backend.metadata)
            return _serialised(messages.ModelMetadataResponse(**description))

    async def infer(self, call: Call) -> bytes:
        """Answer an inference request of the protocol."""

        def model_of(message: Any) -> Model:
            return self._model(call, message.model_name, message.model_version)

        def read(message: Any, model: Model) -> tuple[InferRequest, Pixels]:
            asked = read_message(message, model.backend.metadata, model.batcher.batching.places)
            return asked, asked.pictures

        arriving = self._message(messages.ModelInferRequest, call)
        model, asked, probabilities = await self.service.answered(arriving, model_of, read)
        labels = model.backend.metadata.labels
        return await self.service.in_thread(write_message, model.name, asked, probabilities, labels)

    def _model(self, call: Call, name: str, version: str) -> Model:
        """Return the model that a message names, in the one version where it names none."""
        model = self.service.model(name, version or VERSION)
        call.model = name
        return model

    @contextlib.asynccontextmanager
    async def _message(self, kind: Any, call: Call) -> AsyncIterator[Any]:
        """Yield the message of a call, which is let go afterwards.

        Raises HTTPException: 400 for one that is none, 408 too slow, 503 when too many bytes are held.
        """
        try:
            async with asyncio.timeout(SECONDS):
                data = await call.read()
        except TimeoutError:
            words = f"the message took over {SECONDS:.0f} seconds"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, words) from None
        if data is grpc.aio.EOF:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"no {kind.DESCRIPTOR.name} came")
        with self.service.bodies.counted(len(data)):
            try:
                message = await self.service.in_thread(kind.FromString, data)
            except DecodeError:
                raise HTTPException(HTTPStatus.BAD_REQUEST, f"what came is no {kind.DESCRIPTOR.name}") from None
            del data
            yield message

    def _counted(self, answer: Answer) -> Callable[[Any, Any], Awaitable[bytes]]:
        """Return a handler whose errors are answered and whose calls are counted."""

        async def counted(stream: Any, context: Any) -> bytes:
            began = perf_counter()
            # The stream would hold the message as long as the call.
            call, code, refused = Call(context.read), grpc.StatusCode.OK, None
            answered = b""
            try:
                answered = await answer(call)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception as error:
                refused = self.service.refusal(error)
                code = CODES[HTTPStatus(refused.status_code)]
            finally:
                self.service.metrics.request(call.model, "grpc", code.name, perf_counter() - began)
            if refused:
                words = " ".join(refused.detail.split())[:WORDS]
                await context.abort(code, words, AGAIN if code is grpc.StatusCode.RESOURCE_EXHAUSTED else ())
            return answered

        return counted


async def listening(service: Service, address: str) -> Any:
    """Return a server that listens at an address, HOST:PORT; InputError when the address is taken.

    Its `stop(seconds)` takes no more calls and gives those under way that long.
    """
    options: Sequence[tuple[str, int]] = (
        ("grpc.max_receive_message_length", service.bodies.largest),
        ("grpc.max_allowed_incoming_connections", CONNECTIONS),
        ("grpc.server_handshake_timeout_ms", round(SECONDS * 1000)),
        # A call that is answered counts no more, though its client does not read the answer.
        ("grpc.max_connection_idle_ms", round(SECONDS * 1000)),
        # Compressed messages are refused (1: identity alone), for their size is known too late.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # Without it a second server could listen at the same port.
        ("grpc.so_reuseport", 0),
    )
    calls = CALLS + sum(model.batcher.batching.places for model in service.models.values())
    server = grpc.aio.server(handlers=[GrpcApi(service).handler()], options=options, maximum_concurrent_rpcs=calls)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise InputError(f"cannot listen on {address} for gRPC; give another --host or --grpc-port") from None
    await server.start()
    return server


def _serialised(message: Any) -> bytes:
    """Return a message as bytes."""
    data: bytes = message.SerializeToString()
    return data
