"""The server's paths: the Open Inference Protocol v2, `POST /v1/classify` and `/metrics`, each answer bounded.

Every error is JSON, {"error": what was found and expected}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from time import perf_counter

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alexnet import __version__
from alexnet.pictures import Pixels, picture_of
from alexnet.runtime.classify import best_answers
from alexnet.runtime.output import answer_values
from alexnet.runtime.serve.metrics import CONTENT_TYPE_LATEST
from alexnet.runtime.serve.protocol import (
    EXTENSIONS,
    HEADER_LENGTH,
    VERSION,
    InferRequest,
    model_description,
    read_request,
    write_answer,
)
from alexnet.runtime.serve.service import Model, Service

TOP = 5
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Api:
    """What answers the requests; `largest_picture` is in pixels."""

    service: Service
    largest_picture: int

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
        return Response(self.service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def infer(self, request: Request) -> Response:
        """Answer an inference request of the protocol."""
        model = self._model(request)
        header = request.headers.get(HEADER_LENGTH)

        def read(body: bytearray, model: Model) -> tuple[InferRequest, Pixels]:
            asked = read_request(body, header, model.backend.metadata, model.batcher.batching.places)
            return asked, asked.pictures

        body = self.service.bodies.body(request)
        _, asked, probabilities = await self.service.answered(body, lambda _: model, read, partial(_gone, request))
        labels = model.backend.metadata.labels
        answer, length = await self.service.in_thread(write_answer, model.name, asked, probabilities, labels)
        if length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    async def classify(self, request: Request) -> Response:
        """Answer the classes of an encoded picture as `alexnet infer` does; `?model=NAME` and `?top=N` are optional."""
        model = self._model(request)
        top = request.query_params.get("top", str(TOP))
        if not (top.isascii() and top.isdigit() and 0 < len(top) < 10 and int(top)):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "top is not a number of classes, expected 1 or more")

        def read(body: bytearray, model: Model) -> tuple[None, Pixels]:
            preprocessing = model.backend.metadata.preprocessing
            return None, picture_of(bytes(body), "the body", preprocessing, limit=self.largest_picture)[None]

        body = self.service.bodies.body(request)
        _, _, probabilities = await self.service.answered(body, lambda _: model, read, partial(_gone, request))
        answers = best_answers(probabilities[0], model.backend.metadata.labels, int(top))
        by = {"model": model.name, "backend": model.backend.name, "device": model.backend.device}
        return JSONResponse({"classes": answer_values(answers), **by, "precision": model.backend.precision})

    def _model(self, request: Request) -> Model:
        """Return the model that a request names in its path or its query, the first one where it names none."""
        name = request.path_params.get("model") or request.query_params.get("model") or next(iter(self.service.models))
        model = self.service.model(name, request.path_params.get("version", VERSION))
        request.state.model = name
        return model

    def _counted(self, handler: Handler) -> Handler:
        """Return a handler whose errors are answered and whose requests are counted."""

        async def counted(request: Request) -> Response:
            began = perf_counter()
            try:
                response = await handler(request)
            except ClientDisconnect:
                # Nobody is there to read it.
                response = _error("the request was cut off", HTTPStatus.BAD_REQUEST)
            except Exception as error:
                response = _refusal(self.service.refusal(error))
            name = getattr(request.state, "model", "")
            self.service.metrics.request(name, "http", str(response.status_code), perf_counter() - began)
            return response

        return counted


async def _gone(request: Request) -> None:
    """Return once the client of a request, whose body was read, is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(error: HTTPException) -> Response:
    """Return the answer to a request that is refused."""
    return _error(error.detail, error.status_code, error.headers)


def _error(words: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the protocol has it."""
    return JSONResponse({"error": " ".join(words.split())}, status, headers)
