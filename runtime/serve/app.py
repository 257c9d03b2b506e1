"""The server's paths: the Open Inference Protocol v2, `POST /v1/classify` and `/metrics`, each answer bounded.

Every error is JSON, {"error": what was found and expected}. Decoding and parsing run in threads, so that one large
request does not hold the others up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alexnet import __version__
from alexnet.errors import AlexNetError, PictureError
from alexnet.pictures import Pixels, picture_of
from alexnet.runtime.backends import Backend, Floats
from alexnet.runtime.classify import best_answers
from alexnet.runtime.output import answer_values
from alexnet.runtime.serve.batcher import Batcher
from alexnet.runtime.serve.bodies import Bodies, busy
from alexnet.runtime.serve.metrics import CONTENT_TYPE_LATEST, Metrics
from alexnet.runtime.serve.protocol import (
    EXTENSIONS,
    HEADER_LENGTH,
    VERSION,
    InferRequest,
    ProtocolError,
    model_description,
    read_request,
    write_answer,
)

T = TypeVar("T")
TOP = 5
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Model:
    """One model that is served: its name, its platform in the protocol's words, what it is, and its batches.

    `backend` is that of the first replica, which is asked for facts only.
    """

    name: str
    platform: str
    backend: Backend
    batcher: Batcher


@dataclass(frozen=True)
class Api:
    """What answers the requests: models by name, the first one the default of /v1/classify.

    `largest_picture` is in pixels; `say` is told of faults.
    """

    models: Mapping[str, Model]
    bodies: Bodies
    decoders: Executor
    metrics: Metrics
    largest_picture: int
    say: Callable[[str], None]

    def application(self) -> Starlette:
        """Return the application."""
        model = "/v2/models/{model}"
        version = f"{model}/versions/{{version}}"
        routes = [
            Route("/v2", self._counted(self.server)),
            Route("/v2/health/live", self._counted(self.ready)),
            Route("/v2/health/ready", self._counted(self.ready)),
            *(Route(path, self._counted(self.describe)) for path in (model, version)),
            *(Route(f"{path}/ready", self._counted(self.ready)) for path in (model, version)),
            *(Route(f"{path}/infer", self._counted(self.infer), methods=["POST"]) for path in (model, version)),
            Route("/v1/classify", self._counted(self.classify), methods=["POST"]),
            Route("/metrics", self.show_metrics),
        ]

        async def nothing_there(request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)
            return _refusal(error)

        return Starlette(routes=routes, exception_handlers={HTTPException: nothing_there})

    async def server(self, request: Request) -> Response:
        """Answer what this server is."""
        return JSONResponse({"name": "alexnet", "version": __version__, "extensions": list(EXTENSIONS)})

    async def ready(self, request: Request) -> Response:
        """Answer that the server, or a model, is ready: it does not listen before all of them are."""
        if "model" in request.path_params:
            self._model(request)
        return Response()

    async def describe(self, request: Request) -> Response:
        """Answer what a model takes and gives."""
        model = self._model(request)
        return JSONResponse(model_description(model.name, model.platform, model.backend.metadata))

    async def show_metrics(self, request: Request) -> Response:
        """Answer the metrics."""
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def infer(self, request: Request) -> Response:
        """Answer an inference request of the protocol."""
        model = self._model(request)
        metadata, most = model.backend.metadata, model.batcher.batching.places
        header = request.headers.get(HEADER_LENGTH)

        def read(body: bytearray) -> tuple[InferRequest, Pixels]:
            asked = read_request(body, header, metadata, most)
            return asked, asked.pictures

        asked, probabilities = await self._answered(request, model, read)
        answer, length = await self._in_thread(write_answer, model.name, asked, probabilities, metadata.labels)
        if length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    async def classify(self, request: Request) -> Response:
        """Answer the classes of an encoded picture as `alexnet infer` does; `?model=NAME` and `?top=N` are optional."""
        model = self._model(request)
        top = request.query_params.get("top", str(TOP))
        if not (top.isascii() and top.isdigit() and 0 < len(top) < 10 and int(top)):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "top is not a number of classes, expected 1 or more")

        def read(body: bytearray) -> tuple[None, Pixels]:
            preprocessing = model.backend.metadata.preprocessing
            return None, picture_of(bytes(body), "the body", preprocessing, limit=self.largest_picture)[None]

        _, probabilities = await self._answered(request, model, read)
        answers = best_answers(probabilities[0], model.backend.metadata.labels, int(top))
        by = {"model": model.name, "backend": model.backend.name, "device": model.backend.device}
        return JSONResponse({"classes": answer_values(answers), **by, "precision": model.backend.precision})

    async def _answered(
        self, request: Request, model: Model, read: Callable[[bytearray], tuple[T, Pixels]]
    ) -> tuple[T, Floats]:
        """Return what `read` makes of a request's body, and the probabilities of the pictures in it.

        A picture has its place from before it is read until it is answered; the body is let go once it is read.
        """
        batcher = model.batcher
        with contextlib.ExitStack() as places:
            async with self.bodies.body(request) as body:
                places.enter_context(_places(batcher, 1))
                asked, pictures = await self._in_thread(read, body)
                del body
            places.enter_context(_places(batcher, len(pictures) - 1))
            return asked, await batcher.answers(pictures)

    async def _in_thread(self, work: Callable[..., T], *given: object) -> T:
        """Do some work in one of the decoders' threads."""
        return await asyncio.get_running_loop().run_in_executor(self.decoders, work, *given)

    def _model(self, request: Request) -> Model:
        """Return the model that a request names in its path or its query, the first one where it names none."""
        name = request.path_params.get("model") or request.query_params.get("model") or next(iter(self.models))
        if name not in self.models:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no model {name!r}, expected {', '.join(self.models)}")
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"{name} has no version {version!r}, expected {VERSION}")
        request.state.model = name
        return self.models[name]

    def _counted(self, handler: Handler) -> Handler:
        """Return a handler whose errors are answered and whose requests are counted."""

        async def counted(request: Request) -> Response:
            began = perf_counter()
            try:
                response = await handler(request)
            except HTTPException as error:
                response = _refusal(error)
            except (ProtocolError, PictureError) as error:
                response = _error(str(error), HTTPStatus.BAD_REQUEST)
            except ClientDisconnect:
                # Nobody is there to read it.
                response = _error("the request was cut off", HTTPStatus.BAD_REQUEST)
            except AlexNetError as error:
                self.say(error.message)
                response = _error(error.message, HTTPStatus.INTERNAL_SERVER_ERROR)
            except Exception as error:
                self.say(f"a fault of the toolchain: {type(error).__name__}: {error}")
                response = _error("a fault of the server, which has reported it", HTTPStatus.INTERNAL_SERVER_ERROR)
            name = getattr(request.state, "model", "")
            self.metrics.request(name, response.status_code, perf_counter() - began)
            return response

        return counted


@contextlib.contextmanager
def _places(batcher: Batcher, number: int) -> Iterator[None]:
    """Hold places for pictures, or refuse the request where there are not as many."""
    if not batcher.take(number):
        raise busy(f"{batcher.held} pictures are waiting, of {batcher.batching.places} at most")
    try:
        yield
    finally:
        batcher.give(number)


def _refusal(error: HTTPException) -> Response:
    """Return the answer to a request that is refused."""
    return _error(error.detail, error.status_code, error.headers)


def _error(words: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the protocol has it."""
    return JSONResponse({"error": " ".join(words.split())}, status, headers)
