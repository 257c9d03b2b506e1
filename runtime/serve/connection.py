"""A connection that ends when its client is slow: uvicorn's own, with a deadline for whatever the client still owes.

uvicorn limits how long a connection may be idle between requests, but not how long a client may take over its headers,
over a body that was refused, or over reading an answer. The body of a request that is taken has its own deadline
(`alexnet.runtime.serve.bodies`).
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Connections at once; one more is told to try again.
CONNECTIONS = 512
# Seconds that a client may take over what it owes.
SECONDS = 10.0
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 35\r\n\r\n"
    b'{"error": "too many connections"}\r\n'
)


class BoundedConnection(H11Protocol):
    """One connection of a bounded number; it is cut off when its client lets a deadline pass."""

    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.write(BUSY)
            transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the connection is being closed."""
        if self.transport.is_closing():
            return
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            # What came is no HTTP, and an answer is under way that cannot be taken back.
            self.transport.abort()
        self._watch()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline with the connection."""
        super().connection_lost(exc)
        if self.deadline:
            self.deadline.cancel()

    def _watch(self) -> None:
        """Start the deadline when the client begins to owe something, end it when it no longer does."""
        if not self._client_owes():
            if self.deadline:
                self.deadline.cancel()
                self.deadline = None
        elif self.deadline is None:
            self.deadline = self.loop.call_later(SECONDS, self.transport.abort)

    def _client_owes(self) -> bool:
        """Return whether headers, the rest of a body that was refused, or reading an answer are outstanding."""
        if self.transport.is_closing():
            return True
        if self.flow.write_paused:
            return True
        if self.conn.their_state is h11.IDLE:
            return self.timeout_keep_alive_task is None
        return self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
