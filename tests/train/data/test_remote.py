"""Prepared data by URL, through fsspec's own memory:// and file:// and a local HTTP server: fetched once, whole."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from alexnet.errors import InputError, MissingPackageError
from alexnet.train.data import remote
from alexnet.train.data.prepare import prepare
from alexnet.train.data.remote import cached, fetch, is_url
from alexnet.train.data.shards import open_prepared

fsspec = pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
URL = "memory://bucket/sets/tiny"
Cli = Callable[..., Result]


@pytest.fixture
def bucket(prepared: Path) -> Iterator[fsspec.AbstractFileSystem]:
    """The prepared data in fsspec's memory, as in a bucket."""
    system = fsspec.filesystem("memory")
    system.put(f"{prepared}/", "/bucket/sets/tiny/", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    return tmp_path / "cache"


def get(url: str = URL) -> tuple[Path, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    return fetch(url, lambda done, total: told.append((done, total))), told


def same(folder: Path, prepared: Path) -> bool:
    found, expected = open_prepared(folder), open_prepared(prepared)
    return found.classes == expected.classes and all(
        np.array_equal(found.parts[part].pictures[:], expected.parts[part].pictures[:])
        and np.array_equal(found.parts[part].labels, expected.parts[part].labels)
        for part in ("train", "val")
    )


def test_urls_are_told_from_paths() -> None:
    assert all(map(is_url, ("s3://a/b", "memory://x", "file:///tmp/x", "https://host/x")))
    assert not any(map(is_url, ("data/tiny", "/data/tiny", "C:\\data", "generator:size=3", "./a://b")))


def test_what_is_fetched_is_what_was_prepared_and_is_fetched_once(
    bucket: fsspec.AbstractFileSystem, prepared: Path
) -> None:
    folder, told = get()
    assert folder == cached(URL)
    assert same(folder, prepared)
    assert told[-1] == (32 * 72 * 72 * 3,) * 2
    bucket.rm("/bucket/sets/tiny/train-00000.raw")
    assert get() == (folder, [])


@pytest.mark.parametrize("protocol", ["file", "http"])
def test_files_and_http_are_urls_like_any_other(prepared: Path, protocol: str) -> None:
    if protocol == "file":
        assert same(get(f"file://{prepared}")[0], prepared)
        return
    pytest.importorskip("aiohttp", reason="fsspec's http needs it")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(prepared)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert same(get(f"http://127.0.0.1:{server.server_port}")[0], prepared)
    finally:
        server.shutdown()
        server.server_close()


def test_a_fetch_that_was_cut_off_goes_on_with_the_next_shard(
    bucket: fsspec.AbstractFileSystem, prepared: Path
) -> None:
    path = "/bucket/sets/tiny/val-00000.raw"
    kept = bucket.cat_file(path)
    bucket.rm(path)
    with pytest.raises(InputError, match=r"has no val-00000\.raw"):
        get()
    folder = cached(URL)
    assert (folder / "train-00000.raw").is_file()
    assert not (folder / "index.json").exists(), "what has no index is unfinished"
    bucket.pipe_file(path, kept)
    bucket.rm("/bucket/sets/tiny/train-00000.raw")  # it is there already
    assert same(get()[0], prepared)


@pytest.mark.parametrize("name", ["train-00000.raw", "train-00000.json", "statistics.safetensors"])
def test_a_changed_byte_is_found_and_nothing_of_it_stays(bucket: fsspec.AbstractFileSystem, name: str) -> None:
    path = f"/bucket/sets/tiny/{name}"
    data = bytearray(bucket.cat_file(path))
    data[len(data) // 2] ^= 1
    bucket.pipe_file(path, bytes(data))
    with pytest.raises(InputError, match=rf"{name} of .* the index says .*prepare and upload it again"):
        get()
    assert not (cached(URL) / name).exists()
    assert not (cached(URL) / "index.json").exists()
    assert not list(cached(URL).glob("*.part"))


@pytest.mark.parametrize(("change", "said"), [(b"", "has more than"), (None, "expected")])
def test_a_file_of_another_length_is_refused(
    bucket: fsspec.AbstractFileSystem, change: bytes | None, said: str
) -> None:
    path = "/bucket/sets/tiny/val-00000.raw"
    data = bucket.cat_file(path)
    bucket.pipe_file(path, data[:-1] if change is None else data + b"x")
    with pytest.raises(InputError, match=said):
        get()


def test_data_that_were_prepared_anew_replace_what_differs(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    get()
    other = tmp_path / "other"
    source = "generator:seed=1,size=72,train=24,val=8"
    prepare(source, other, side=72, form="raw", quality=95, workers=1, strict=False, progress=lambda done, total: None)
    bucket.put(f"{other}/", "/bucket/sets/tiny/", recursive=True)
    assert same(get()[0], other)


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", "index.json", "a/train-00000.raw"])
def test_an_index_cannot_name_a_file_elsewhere(bucket: fsspec.AbstractFileSystem, file: str) -> None:
    path = "/bucket/sets/tiny/index.json"
    index = json.loads(bucket.cat_file(path))
    index["parts"]["train"][0]["file"] = file
    bucket.pipe_file(path, json.dumps(index).encode())
    with pytest.raises(InputError, match="is not the name of a shard"):
        get()


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"format": 7}', '{"format": 1}', '{"format": 1, "parts": {"train": [3]}}']
)
def test_an_index_that_is_none_is_refused(bucket: fsspec.AbstractFileSystem, text: str) -> None:
    bucket.pipe_file("/bucket/sets/tiny/index.json", text.encode())
    with pytest.raises(InputError):
        get()


def test_a_connection_that_breaks_is_tried_again_and_named_in_the_end(
    bucket: fsspec.AbstractFileSystem, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"left": 2}
    opened = type(bucket).open

    def flaky(self: fsspec.AbstractFileSystem, path: str, *arguments: object, **more: object) -> object:
        if broken["left"]:
            broken["left"] -= 1
            raise ConnectionResetError("reset by peer")
        return opened(self, path, *arguments, **more)

    monkeypatch.setattr(type(bucket), "open", flaky)
    assert same(get()[0], prepared)
    broken["left"] = 3
    with pytest.raises(InputError, match=r"in 3 attempts \(ConnectionResetError: reset by peer\)"):
        get()


def test_what_may_not_be_read_is_not_asked_for_again(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refused(self: fsspec.AbstractFileSystem, path: str, *arguments: object, **more: object) -> object:
        asked.append(path)
        raise PermissionError("Forbidden")

    monkeypatch.setattr(type(bucket), "open", refused)
    with pytest.raises(InputError, match=r"may not read index\.json of .* \(Forbidden\); .* credentials"):
        get()
    assert len(asked) == 1


def test_a_full_disk_is_said_before_anything_is_fetched(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match=r"XDG_CACHE_HOME"):
        get()
    assert not list(cached(URL).glob("*.raw"))


def test_a_description_without_a_digest_still_has_to_be_the_shards(bucket: fsspec.AbstractFileSystem) -> None:
    path = "/bucket/sets/tiny/"
    index = json.loads(bucket.cat_file(path + "index.json"))
    for shard in index["parts"]["train"]:
        del shard["described_sha256"]
    bucket.pipe_file(path + "index.json", json.dumps(index).encode())
    for text in (b"{", b"[]", b'{"sha256": "0"}'):
        bucket.pipe_file(path + "train-00000.json", text)
        with pytest.raises(InputError, match="describes another shard"):
            get()


def test_a_cache_that_cannot_be_written_is_named(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME to another folder"):
        get()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"memory://nowhere has no index\.json"):
        get("memory://nowhere")
    with pytest.raises(InputError, match="cannot open nonsense://x"):
        get("nonsense://x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingPackageError, match=r"alexnet-toolchain\[remote\]"):
        get()


def test_training_takes_a_url_and_goes_on_with_it_where_the_cache_is_gone(
    run_cli: Cli, bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    settings = ("network.width=0.0625", "network.crop=64", "data.picture=72", "sgd.batch=8", "schedule.epochs=1")
    more = [text for setting in settings for text in ("--set", setting)]
    found = run_cli("train", "--data", URL, "--out", run, "--threads", "1", *more)
    assert found.exit_code == 0, found.output
    assert json.loads((run / "data.json").read_text()) == {"data": str(cached(URL).resolve()), "url": URL}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    again = run_cli("train", "--resume", run, "--threads", "1")
    assert again.exit_code == 0, again.output
    assert (cached(URL) / "index.json").is_file()
