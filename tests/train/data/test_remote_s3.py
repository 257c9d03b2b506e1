"""Prepared data in a bucket, over the real S3 protocol: s3fs against a server of moto on this machine.

Neither is part of the extra `dev`: docs/scaling.md says how to install them, without them the tests are skipped.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from alexnet.errors import InputError
from alexnet.run import Run
from alexnet.train.checkpoint import load_state
from alexnet.train.data import remote
from alexnet.train.data.remote import cached

HOW = "not installed: docs/scaling.md says how"
s3fs = pytest.importorskip("s3fs", reason=HOW)
moto_server = pytest.importorskip("moto.server", reason=HOW)

URL = "s3://bucket/sets/tiny"
SETTINGS = ("network.width=0.0625", "network.crop=64", "data.picture=72", "sgd.batch=8", "schedule.epochs=1")
Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server in a thread of this process."""
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """What a user sets for S3, a cache of the test's own, and no settings of this machine."""
    for name, value in (
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")),
        ("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none")),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "PAUSE", 0.0)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(prepared: Path, environment: None) -> Iterator[Any]:
    """The prepared data, uploaded."""
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    system.put(f"{prepared}/", "bucket/sets/tiny/", recursive=True)
    yield system
    system.rm("bucket", recursive=True)


def train(run_cli: Cli, out: Path, url: str = URL) -> Result:
    more = [text for setting in SETTINGS for text in ("--set", setting)]
    return run_cli("train", "--data", url, "--out", out, "--threads", "1", *more)


def error_line(found: Result) -> str:
    assert found.exit_code == InputError.exit_code == 3, found.output
    (line,) = [line for line in found.output.splitlines() if line.startswith("Error:")]
    assert "Traceback" not in found.output
    return line


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*-0*") if path.suffix in (".raw", ".json")}


def test_training_fetches_from_a_bucket_and_goes_on_with_it(
    run_cli: Cli, bucket: Any, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    found = train(run_cli, run)
    assert found.exit_code == 0, found.output
    assert load_state(Run(run)).finished
    assert shards(cached(URL)) == shards(prepared)
    assert json.loads((run / "data.json").read_text())["url"] == URL
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    again = run_cli("train", "--resume", run, "--threads", "1")
    assert again.exit_code == 0, again.output
    assert shards(cached(URL)) == shards(prepared)


def test_a_fetch_that_was_cut_off_goes_on(
    run_cli: Cli, bucket: Any, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = s3fs.S3File._fetch_range
    asked: list[str] = []
    broken = True

    def fetch_range(self: Any, start: int, end: int) -> bytes:
        asked.append(self.path.rpartition("/")[2])
        if broken and asked[-1] == "val-00000.raw":
            raise ConnectionResetError("reset by peer")
        found: bytes = read(self, start, end)
        return found

    monkeypatch.setattr(s3fs.S3File, "_fetch_range", fetch_range)
    said = error_line(train(run_cli, tmp_path / "run"))
    assert "cannot copy val-00000.raw of s3://bucket/sets/tiny in 3 attempts (ConnectionResetError: " in said
    assert sorted(shards(cached(URL))) == ["train-00000.json", "train-00000.raw"]
    assert not (tmp_path / "run").exists()
    broken = False
    asked.clear()
    found = train(run_cli, tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert "val-00000.raw" in asked and "train-00000.raw" not in asked
    assert shards(cached(URL)) == shards(prepared)


@pytest.mark.parametrize("url", ["s3://absent/sets/tiny", "s3://bucket/sets/absent"])
def test_a_bucket_or_folder_that_is_not_there_is_named(run_cli: Cli, bucket: Any, tmp_path: Path, url: str) -> None:
    assert f"{url} has no index.json" in error_line(train(run_cli, tmp_path / "run", url))


def test_missing_credentials_are_said(
    run_cli: Cli, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "(NoCredentialsError: Unable to locate credentials)" in error_line(train(run_cli, tmp_path / "run"))


def test_wrong_credentials_are_said_at_once(
    run_cli: Cli, bucket: Any, tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_keys_after(requests: str) -> None:
        """Let the server take any key for so many requests, and then only its users', of whom it has none."""
        text = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", requests.encode(), text)
        urllib.request.urlopen(request).close()

    check_keys_after("0")
    try:
        said = error_line(train(run_cli, tmp_path / "run"))
    finally:
        check_keys_after("inf")
    assert "may not read index.json of s3://bucket/sets/tiny (Forbidden)" in said
