"""`alexnet infer --ray` on a cluster of this machine: workers are killed, and each picture still has one row."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.runtime.cluster.conftest import COLOURS, large_picture, plain, rows_of, write_parquet, write_tar

Cli = Callable[..., Result]
pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="ray is not installed: extra ray")
LONG = 300.0


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A hundred large pictures in files, as many in a tar and in Parquet, a few of each bad."""
    root = tmp_path / "mixed"
    (root / "files").mkdir(parents=True)
    kinds = []
    for colour in COLOURS:
        large_picture(tmp_path / "one.jpg", colour)
        kinds.append((tmp_path / "one.jpg").read_bytes())
    data = [b"words" if place % 40 == 7 else kinds[place % 3] for place in range(100)]
    for place, one in enumerate(data):
        (root / "files" / f"{place:03d}.jpg").write_bytes(one)
    write_tar(root / "shard.tar", {f"{place:03d}.jpg": one for place, one in enumerate(data)})
    names = [f"{place:03d}.jpg" for place in range(100)]
    write_parquet(root / "rows.parquet", {"bytes": data, "path": names}, group=25)
    return root


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start the command with two workers, in a folder by which they are found."""
    call = [sys.executable, "-m", "alexnet", "infer", "--ray", "local", *map(str, arguments)]
    call += ["--workers", "2", "--cores-per-worker", "1"]
    return subprocess.Popen(call, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def workers_of(folder: Path) -> list[int]:
    """Return the processes in which Ray Data runs a worker, and that work in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            named = process.name.isdigit() and (process / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            if named and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something while a process runs."""
    began = time.monotonic()
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < LONG
        time.sleep(0.02)


def test_a_killed_worker_is_replaced_and_each_picture_has_one_row(
    model: Path, mixed: Path, tmp_path: Path, run_cli: Cli
) -> None:
    process = start(tmp_path, "--engine", model, mixed, "-o", "results")
    part = tmp_path / "results.part"
    wait_until(lambda: any(part.glob("part-*")) and len(list(part.glob(".*.begun"))) >= 3, process)
    killed = workers_of(tmp_path)[0]
    os.kill(killed, signal.SIGKILL)
    out, report = process.communicate(timeout=LONG)
    assert (process.returncode, out) == (0, ""), report
    assert "was done again: a worker had died over it" in report
    assert "291 of 300 pictures classified, 9 rows with an error" in report
    rows = rows_of(tmp_path / "results")
    assert len({row["path"] for row in rows}) == len(rows) == 300
    lines = run_cli("infer", "--engine", model, mixed / "files", "--jsonl", "--quiet").stdout.splitlines()
    expected = [plain(json.loads(line)) for line in lines]
    assert [row for row in rows if "/files/" in row["path"]] == expected
    for shard in ("shard.tar", "rows.parquet"):
        found = [row for row in rows if shard in row["path"]]
        for row, other in zip(found, expected, strict=True):
            assert Path(row["path"]).name == Path(other["path"]).name
            assert row.get("classes") == other.get("classes")
            assert bool(row.get("error")) == bool(other.get("error"))
    began = time.monotonic()
    while workers_of(tmp_path):
        assert time.monotonic() - began < LONG, "workers are left behind"
        time.sleep(0.1)


def test_a_run_that_was_interrupted_goes_on(model: Path, mixed: Path, tmp_path: Path) -> None:
    call = ("--engine", model, mixed / "files", mixed / "shard.tar", "-o", "results", "--jsonl")
    process = start(tmp_path, *call)
    wait_until(lambda: any((tmp_path / "results.part").glob("part-*")), process)
    process.send_signal(signal.SIGINT)
    _, report = process.communicate(timeout=LONG)
    assert (process.returncode, "the same command with --resume goes on" in report) == (130, True), report
    assert not (tmp_path / "results").exists()
    process = start(tmp_path, *call, "--resume")
    _, report = process.communicate(timeout=LONG)
    assert (process.returncode, "pictures are done already" in report) == (0, True), report
    rows = rows_of(tmp_path / "results")
    assert len({row["path"] for row in rows}) == len(rows) == 200
    assert sum("error" in row for row in rows) == 6
