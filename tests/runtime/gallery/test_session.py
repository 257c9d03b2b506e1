"""`alexnet gallery` as a process: it says where it is, answers, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

BLOCKED = (
    "import sys\nfor name in ('torch', 'jinja2', 'matplotlib'): sys.modules[name] = None\n"
    "from alexnet.cli import main\nmain()\n"
)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_comes_without_torch(hidden: Path, images: Path, tmp_path: Path, sent: int) -> None:
    own = tmp_path / "own"
    own.mkdir()
    command = [sys.executable, "-c", BLOCKED, "gallery", "--engine", str(hidden), str(images)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=own,
        env={**os.environ, "TMPDIR": str(own)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/)  \(12 pictures to be neighbours", line)
        assert found, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
        with urllib.request.urlopen(found[1], timeout=20) as page:
            assert b"AlexNet gallery" in page.read()
        before = sorted(own.iterdir())
        picture = (images / "red" / "0.png").read_bytes()
        origin = {"Origin": found[1].rstrip("/")}
        request = urllib.request.Request(found[1] + "classify", data=picture, headers=origin)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert b'"label": "red"' in answer.read()
        # What the runtime itself keeps there was there before.
        assert sorted(own.iterdir()) == before
        process.send_signal(sent)
        process.send_signal(sent)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, "the gallery is closed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 3, "nowhere cannot be opened"),
        (("--engine", "gone.onnx"), 3, "gone.onnx does not exist"),
        (("--host", "203.0.113.1"), 3, "cannot listen on 203.0.113.1"),
    ],
)
def test_what_cannot_be_served_is_said(
    hidden: Path, run_cli: Callable[..., Result], arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = run_cli("gallery", "--engine", hidden, *arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_a_plan_has_no_neighbours(tmp_path: Path, images: Path, run_cli: Callable[..., Result]) -> None:
    (tmp_path / "model.plan").write_bytes(b"a plan")
    result = run_cli("gallery", "--engine", tmp_path / "model.plan", images)
    assert (result.exit_code, "give the ONNX model" in result.stderr) == (3, True), result.stderr
