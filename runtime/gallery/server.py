"""The gallery's server: a few fixed paths over the loopback address, uploads bounded in size, time and number.

A page of another site must not reach it: the Host header has to be an address or the name given (else a name of that
site could be made to point here, DNS rebinding), a POST has to come from the gallery's own page (Origin), and the page
itself may load nothing from elsewhere (Content-Security-Policy).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alexnet import __version__
from alexnet.errors import AlexNetError, InputError
from alexnet.runtime.gallery.gallery import Gallery

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# Bytes of an upload, and seconds that one may take.
LARGEST, SECONDS = 20_000_000, 30.0
# Connections, and uploads among them, that are worked on at once; the others are told to try again.
CONNECTIONS, UPLOADS = 32, 8
BLOCK = 1 << 16
# What a client still sends after a refusal is read away for a while, or it would not see the refusal.
DRAINED, DRAIN_SECONDS = 100_000_000, 2.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class GalleryServer(ThreadingHTTPServer):
    """Serves one gallery at an address; `names` are the host names by which it may be called, besides addresses."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, gallery: Gallery, host: str, port: int) -> None:
        self.gallery, self.names = gallery, {host.lower(), "localhost"}
        self.room = threading.BoundedSemaphore(CONNECTIONS)
        self.uploads = threading.BoundedSemaphore(UPLOADS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on {host} port {port}: {error}; give another --host or --port") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Work on a request in a thread of its own, or refuse it at once where there are too many."""
        if self.room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(1.0)
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Work on a request and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a client that has gone; nothing of it matters to the others."""

    def accepts_host(self, host: str | None) -> bool:
        """Return whether a Host header is an address, or a name by which this server is called."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self.names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Refused(Exception):
    """A request that is not answered, with its status and the sentence that the page shows."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: GalleryServer
    server_version = f"alexnet/{__version__}"
    sys_version = ""
    timeout = SECONDS

    def do_GET(self) -> None:
        """Send the page, the model's facts, or a neighbour."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """Classify the picture in the body."""
        self._answered(self._post)

    def _answered(self, work: Any) -> None:
        """Do what was asked for, and send the reason where it is refused or fails."""
        try:
            if not self.server.accepts_host(self.headers.get("Host")):
                raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server is not called by that name")
            work()
        except Refused as refusal:
            self._send_json({"error": refusal.words}, refusal.status)
            self._drain()
        except AlexNetError as error:
            self._send_json({"error": " ".join(error.message.split())}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except OSError:
            raise
        except Exception as error:
            words = f"a fault of the toolchain: {type(error).__name__}; the picture was not classified"
            self._send_json({"error": words}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _get(self) -> None:
        """Answer a GET."""
        path = urlsplit(self.path).path
        if path in FILES:
            name, kind = FILES[path]
            self._send((PAGE / name).read_bytes(), kind)
        elif path == "/model.json":
            self._send_json({**self.server.gallery.facts(), "largest": LARGEST})
        else:
            number = path.removeprefix("/neighbours/")
            found = None
            if number != path and number.isascii() and number.isdigit() and len(number) < 10:
                found = self.server.gallery.neighbour_picture(int(number))
            if found is None:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at that path")
            self._send(found, "image/jpeg")

    def _post(self) -> None:
        """Answer a POST."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host")
        if origin is None or urlsplit(origin).netloc != host or urlsplit(origin).scheme not in ("http", "https"):
            raise Refused(HTTPStatus.FORBIDDEN, "pictures are taken from the gallery's own page only")
        if urlsplit(self.path).path != "/classify":
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing at that path")
        if not self.server.uploads.acquire(blocking=False):
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{UPLOADS} pictures are being looked at; try again")
        try:
            self._send_json(self.server.gallery.answer(self._body()))
        finally:
            self.server.uploads.release()

    def _body(self) -> bytes:
        """Return the request's body; Refused when it is too large, too slow, of unknown length or cut off."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the length of the upload is not said")
        size = int(length[:20])
        if size > LARGEST:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"this file has {size:,} bytes, the limit is {LARGEST:,}; make it smaller",
            )
        body, until = bytearray(), time.monotonic() + SECONDS
        while len(body) < size:
            if time.monotonic() > until:
                raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the upload took over {SECONDS:.0f} seconds")
            block = self.rfile.read1(min(BLOCK, size - len(body)))
            if not block:
                raise Refused(HTTPStatus.BAD_REQUEST, "the upload was cut off")
            body += block
        return bytes(body)

    def _drain(self) -> None:
        """Read away what the client still sends, within bounds."""
        if self.command != "POST":
            return
        left, until = DRAINED, time.monotonic() + DRAIN_SECONDS
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(DRAIN_SECONDS)
            while left > 0 and time.monotonic() < until and (block := self.rfile.read1(BLOCK)):
                left -= len(block)

    def _send_json(self, values: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send JSON values."""
        self._send(json.dumps(values).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send bytes of a kind, with the headers that every answer has."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def end_headers(self) -> None:
        """End the headers with those that every answer has, http.server's own errors too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: what was shown to the page is nobody else's."""
