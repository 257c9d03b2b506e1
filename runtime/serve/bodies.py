"""Bodies of requests: each bounded in size and time, and all that are held at once in their sum."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request

# Seconds that a body may take, and how many of the largest size may be held at once.
SECONDS = 10.0
LARGEST_ONES = 8


def busy(words: str) -> HTTPException:
    """Return the refusal of a request that may succeed in a moment."""
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"{words}; try again", {"Retry-After": "1"})


@dataclass
class Bodies:
    """The bodies that are held: at most `largest` bytes each, and LARGEST_ONES times that in all.

    Bytes are counted as they arrive, so that a client that announces much and sends little takes little.
    """

    largest: int
    held: int = field(default=0, init=False)

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """Yield the body of a request, which is let go afterwards.

        Raises HTTPException: 413 for one that is too large, 408 too slow, 415 compressed, 503 when too many are held.
        """
        self._check_headers(request)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(SECONDS):
                    async for block in request.stream():
                        self._take(block, body)
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT, f"the body took over {SECONDS:.0f} seconds", {"Connection": "close"}
                ) from None
            yield body
        finally:
            self.held -= len(body)

    @contextlib.contextmanager
    def counted(self, size: int) -> Iterator[None]:
        """Count a body of `size` bytes that has come whole while it is held; HTTPException 503 when too many are."""
        self._check_sum(size)
        self.held += size
        try:
            yield
        finally:
            self.held -= size

    def _check_headers(self, request: Request) -> None:
        """Refuse by its headers what would be refused anyway."""
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding!r} is not taken; send it plain"
            )
        length = request.headers.get("Content-Length", "0")
        if length.isdigit() and int(length[:20]) > self.largest:
            raise self._too_large()

    def _take(self, block: bytes, body: bytearray) -> None:
        """Add a block to a body."""
        if len(body) + len(block) > self.largest:
            raise self._too_large()
        self._check_sum(len(block))
        self.held += len(block)
        body += block

    def _check_sum(self, more: int) -> None:
        """Refuse bytes for which there is no room among those that are held."""
        if self.held + more > self.largest * LARGEST_ONES:
            raise busy(f"{self.held:,} bytes of other requests are being worked on")

    def _too_large(self) -> HTTPException:
        """Return the refusal of a body over the limit."""
        return HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {self.largest:,} bytes; send less at once"
        )
