"""What both forms of the protocol answer with: the models by name, their places, and what becomes of an error.

A request that is refused is an HTTPException here, whose status the gRPC form turns into its own. Decoding and parsing
run in threads, so that one large request does not hold the others up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from alexnet.errors import AlexNetError, PictureError
from alexnet.runtime.backends import Backend, Floats, Pixels
from alexnet.runtime.serve.batcher import Batcher
from alexnet.runtime.serve.bodies import Bodies, busy
from alexnet.runtime.serve.metrics import Metrics
from alexnet.runtime.serve.protocol import VERSION, ProtocolError

B = TypeVar("B")
T = TypeVar("T")


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
class Service:
    """The models by name, the first one the default of /v1/classify, and what bounds and counts their requests.

    `say` is told of faults.
    """

    models: Mapping[str, Model]
    bodies: Bodies
    decoders: Executor
    metrics: Metrics
    say: Callable[[str], None]

    def model(self, name: str, version: str = VERSION) -> Model:
        """Return a model by its name; HTTPException 404 when there is none, or not in that version."""
        if name not in self.models:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no model {name!r}, expected {', '.join(self.models)}")
        if version != VERSION:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"{name} has no version {version!r}, expected {VERSION}")
        return self.models[name]

    async def answered(
        self,
        arriving: AbstractAsyncContextManager[B],
        model_of: Callable[[B], Model],
        read: Callable[[B, Model], tuple[T, Pixels]],
        gone: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> tuple[Model, T, Floats]:
        """Return the model that a body asks for, what `read` makes of the body, and the probabilities of its pictures.

        A picture has its place from before it is read until it is answered; the body is let go once it is read. `gone`
        ends when the client is gone, in whose place nobody waits: ClientDisconnect. Without it this call is cancelled.
        """
        with contextlib.ExitStack() as places:
            async with arriving as body:
                model = model_of(body)
                places.enter_context(_places(model.batcher, 1))
                asked, pictures = await self.in_thread(read, body, model)
                del body
            places.enter_context(_places(model.batcher, len(pictures) - 1))
            answers = model.batcher.answers(pictures)
            return model, asked, await (_unless(gone(), answers) if gone else answers)

    async def in_thread(self, work: Callable[..., T], *given: object) -> T:
        """Do some work in one of the decoders' threads."""
        return await asyncio.get_running_loop().run_in_executor(self.decoders, work, *given)

    def refusal(self, error: Exception) -> HTTPException:
        """Return the refusal that an error becomes; faults are said."""
        if isinstance(error, HTTPException):
            return error
        if isinstance(error, ProtocolError | PictureError):
            return HTTPException(HTTPStatus.BAD_REQUEST, str(error))
        if isinstance(error, AlexNetError):
            self.say(error.message)
            return HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR, error.message)
        self.say(f"a fault of the toolchain: {type(error).__name__}: {error}")
        return HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the server, which has reported it")


async def _unless(gone: Coroutine[Any, Any, None], answers: Coroutine[Any, Any, Floats]) -> Floats:
    """Return the answers, or raise ClientDisconnect and let the pictures go when the client is gone before them."""
    leaving, answering = asyncio.create_task(gone), asyncio.create_task(answers)
    try:
        await asyncio.wait((leaving, answering), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        leaving.cancel()
        answering.cancel()


@contextlib.contextmanager
def _places(batcher: Batcher, number: int) -> Iterator[None]:
    """Hold places for pictures, or refuse the request where there are not as many."""
    if not batcher.take(number):
        raise busy(f"{batcher.held} pictures are waiting, of {batcher.batching.places} at most")
    try:
        yield
    finally:
        batcher.give(number)
