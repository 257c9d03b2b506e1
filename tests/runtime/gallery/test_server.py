"""The gallery's server against what a browser sends, and against what it should not let in."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from alexnet.errors import InputError
from alexnet.runtime.gallery import server
from alexnet.runtime.gallery.gallery import Gallery
from alexnet.runtime.gallery.server import GalleryServer
from tests.runtime.conftest import png
from tests.runtime.gallery.conftest import Served

RED = png((230, 20, 20))


def test_it_listens_on_the_loopback_address(served: Served) -> None:
    assert served.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")]
)
def test_the_page_loads_nothing_from_elsewhere(served: Served, path: str, kind: str) -> None:
    answer = served.ask("GET", path)
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, kind)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"http://" not in answer.body and b"https://" not in answer.body


def test_a_picture_is_classified(served: Served) -> None:
    answer = served.ask("POST", "/classify", RED)
    assert (answer.status, answer.json["answers"][0]["label"]) == (200, "red")
    near = served.ask("GET", f"/neighbours/{answer.json['neighbours'][0]['place']}")
    assert (near.status, near.headers["Content-Type"], near.body[:2]) == (200, "image/jpeg", b"\xff\xd8")


@pytest.mark.parametrize(
    "path",
    [
        "/neighbours/12",
        "/neighbours/-1",
        "/neighbours/99999999999999999999",
        "/neighbours/../../etc/passwd",
        "/../page.html",
        "/page/page.html",
        "/neighbours/%31",
        "/neighbours/\N{SUPERSCRIPT TWO}".encode().decode("latin-1"),
    ],
)
def test_there_is_nothing_at_other_paths(served: Served, path: str) -> None:
    with socket.create_connection(served.server.server_address[:2]) as connection:  # type: ignore[arg-type]
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode("latin-1"))
        assert connection.makefile("rb").readline().split()[1] == b"404"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1", "a@b"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_is_not_answered(served: Served, host: str, method: str) -> None:
    answer = served.ask(method, "/" if method == "GET" else "/classify", RED if method == "POST" else None, Host=host)
    assert answer.status in (400, 421)
    assert b"red" not in answer.body and b"<html" not in answer.body.lower()


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1:1234", "[::1]:8", "192.168.0.7"])
def test_addresses_and_the_local_name_are_answered(served: Served, host: str) -> None:
    assert served.ask("GET", "/model.json", Host=host).status == 200


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example", "http://127.0.0.1:1", "https://evil.example:80"])
def test_pictures_come_from_the_own_page_only(served: Served, origin: str) -> None:
    answer = served.ask("POST", "/classify", RED, Origin=origin)
    assert (answer.status, "own page" in answer.json["error"]) == (403, True)


@pytest.mark.parametrize("data", [b"", b"only words", RED[:40]])
def test_a_bad_picture_gets_its_reason(served: Served, data: bytes) -> None:
    answer = served.ask("POST", "/classify", data)
    assert (answer.status, answer.json["error"].startswith("this file ")) == (422, True)


def test_too_large_an_upload_is_refused_before_it_is_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST", 1000)
    answer = served.ask("POST", "/classify", b"0" * 500_000)
    assert (answer.status, answer.json["error"]) == (
        413,
        "this file has 500,000 bytes, the limit is 1,000; make it smaller",
    )
    said = served.ask("POST", "/classify", None, **{"Content-Length": "9" * 4000})
    assert said.status == 413


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Length": "-1"}, {"Content-Length": "1e3"}, {"Content-Length": "5", "Transfer-Encoding": "chunked"}],
)
def test_an_upload_of_unknown_length_is_refused(served: Served, headers: dict[str, str]) -> None:
    assert served.ask("POST", "/classify", None, **headers).status == 411


def test_an_upload_that_stops_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_connection(served.server.server_address[:2]) as connection:  # type: ignore[arg-type]
        head = (
            "POST /classify HTTP/1.1",
            f"Host: {served.host}",
            f"Origin: http://{served.host}",
            "Content-Length: 99",
        )
        connection.sendall("\r\n".join([*head, "", "half"]).encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().split()[1] == b"400"
    assert served.ask("POST", "/classify", RED).status == 200


def test_more_uploads_than_there_is_room_for_are_told_to_try_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.server, "uploads", threading.BoundedSemaphore(2))
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(served.ask("POST", "/classify", RED).status)) for _ in range(5)
    ]
    with served.gallery._turn:
        for thread in threads:
            thread.start()
        until = time.monotonic() + 10
        while len(statuses) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        assert statuses == [503] * 3
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 200, 503, 503, 503]


def test_more_connections_than_there_is_room_for_are_refused(served: Served) -> None:
    room = served.server.room
    assert all(room.acquire(timeout=10) for _ in range(server.CONNECTIONS - 1))
    try:
        with socket.create_connection(served.server.server_address[:2]):  # type: ignore[arg-type]
            assert served.ask("GET", "/").status == 503
        until = time.monotonic() + 10
        while (status := served.ask("GET", "/").status) != 200 and time.monotonic() < until:
            time.sleep(0.01)
        assert status == 200
    finally:
        room.release(server.CONNECTIONS - 1)


def test_a_neighbour_that_has_gone_is_said(served: Served) -> None:
    assert served.gallery.neighbours is not None
    served.gallery.neighbours.paths[3].unlink()
    answer = served.ask("GET", "/neighbours/3")
    assert (answer.status, "cannot be read" in answer.json["error"]) == (422, True)


def test_other_methods_are_not_there(served: Served) -> None:
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert served.ask(method, "/").status == 501


def test_a_port_that_is_taken_is_said(served: Served, gallery: Gallery) -> None:
    with pytest.raises(InputError, match="give another --host or --port"):
        GalleryServer(gallery, "127.0.0.1", served.server.server_address[1])
