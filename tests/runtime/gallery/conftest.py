"""A gallery over a small real model, and requests to its server as a browser or somebody else would send them."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from alexnet.picture_files import find_pictures
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.gallery.gallery import Gallery
from alexnet.runtime.gallery.neighbours import index_pictures
from alexnet.runtime.gallery.server import GalleryServer
from tests.runtime.backends.test_onnx_file import changed, ten_crops_of_a_matrix
from tests.runtime.conftest import colour_model
from tests.runtime.http_answer import Answer


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """The colour model with a hidden layer."""
    return changed(colour_model(tmp_path / "hidden.onnx"), ten_crops_of_a_matrix)


@pytest.fixture
def gallery(hidden: Path, images: Path) -> Iterator[Gallery]:
    """A gallery with twelve plain pictures to be neighbours."""
    backend = open_backend(hidden, BackendOptions(features=True))
    said: list[str] = []
    yield Gallery(backend, index_pictures(backend, find_pictures([images]), said.append, lambda done, total: None))
    backend.close()


@dataclass(frozen=True)
class Served:
    """A server that runs, and its gallery."""

    server: GalleryServer
    gallery: Gallery

    @property
    def host(self) -> str:
        """Address and port."""
        return self.server.url.removeprefix("http://").removesuffix("/")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request; Host and Origin are those of the page unless given (`Origin=""` sends none)."""
        sent = {"Host": self.host, **({"Origin": f"http://{self.host}"} if method == "POST" else {}), **headers}
        connection = http.client.HTTPConnection(*self.server.server_address[:2], timeout=20)  # type: ignore[arg-type]
        try:
            connection.putrequest(method, path, skip_host=True)
            if body is not None and "Content-Length" not in sent:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders()
            if body:
                connection.send(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture
def served(gallery: Gallery) -> Iterator[Served]:
    """The gallery at a free port."""
    server = GalleryServer(gallery, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Served(server, gallery)
    server.shutdown()
    server.server_close()
    thread.join()
