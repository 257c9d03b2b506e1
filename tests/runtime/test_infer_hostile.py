"""`alexnet infer` where names, terminals, pipes and users are not kind."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.runtime.conftest import colour_model, metadata, png

Cli = Callable[..., Result]
ALEXNET = [sys.executable, "-m", "alexnet"]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Names that are no UTF-8, that a terminal would obey, or that CSV must quote; one of them is no picture."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (os.fsdecode(b"\xff.png"), "\x1b[31mred.png", 'a,"b".png', "two\nlines.png", "猫.png"):
        (folder / name).write_bytes(png((250, 0, 0)))
    (folder / os.fsdecode(b"bad\xfe\x1b[1m\n.png")).write_text("words")
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_any_name_is_printed_in_any_encoding(model: Path, odd: Path, form: str, encoding: str) -> None:
    options = [] if form == "table" else [f"--{form}"]
    call = [*ALEXNET, "infer", "--engine", str(model), *options, str(odd)]
    out = subprocess.run(call, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert out.returncode == 0, out.stderr
    text, errors = out.stdout.decode(encoding), out.stderr.decode(encoding)
    assert "5 of 6 pictures classified, 1 skipped" in errors
    assert [line.count("skipped: ") for line in errors.splitlines()] == [1, 0]
    assert "\x1b" not in errors
    if form == "table":
        assert "\x1b" not in text
        assert len(text.splitlines()) == 5
    elif form == "csv":
        rows = list(csv.DictReader(text.splitlines(keepends=True)))
        assert {f"{odd}/two\nlines.png", f'{odd}/a,"b".png'} < {row["path"] for row in rows}
        assert sum(bool(row["error"]) for row in rows) == 1
    else:
        paths = [os.fsencode(picture["path"]) for picture in json.loads(text)["pictures"]]
        assert sorted(paths) == sorted(os.fsencode(path) for path in odd.iterdir())


def test_labels_cannot_command_the_terminal(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    path = colour_model(tmp_path / "m.onnx", metadata(labels=("re\x1b[31md", "gr\neen", "blue")))
    result = run_cli("infer", "--engine", path, images)
    assert len(result.stdout.splitlines()) == 12
    assert "\x1b" not in result.stdout


def test_the_table_is_aligned(model: Path, images: Path, run_cli: Cli) -> None:
    lines = run_cli("infer", "--engine", model, images).stdout.splitlines()
    assert {tuple(place for place, letter in enumerate(line) if letter == "%") for line in lines} == {
        tuple(place for place, letter in enumerate(lines[0]) if letter == "%")
    }


def test_an_error_cannot_command_the_terminal(model: Path) -> None:
    call = [*ALEXNET, "infer", "--engine", str(model), "no\x1b[31m\nsuch.png"]
    out = subprocess.run(call, capture_output=True, text=True)
    assert out.returncode == 3
    assert out.stderr.startswith(r"Error: no\x1b[31m such.png cannot be opened: No such file")
    assert out.stderr.count("\n") == 1


def on_a_terminal(command: str) -> str:
    """Return what a terminal shows of a shell command, both of its streams being there unless redirected."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(["bash", "-c", command], stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = bytearray()
    # Linux ends a terminal without processes with an error, not with an empty read.
    with contextlib.suppress(OSError):
        while data := os.read(screen, 4096):
            shown += data
    os.close(screen)
    assert process.wait() == 0, shown
    return shown.decode()


def test_on_a_terminal_the_rows_stand_alone(model: Path, images: Path) -> None:
    shown = on_a_terminal(f"'{sys.executable}' -m alexnet infer --engine '{model}' '{images}'")
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 13


@pytest.mark.parametrize("form", ["", "--csv", "--json"])
def test_a_bar_on_the_terminal_takes_nothing_from_a_file(model: Path, images: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / "out"
    call = f"'{sys.executable}' -m alexnet infer --engine '{model}' '{images}' {form}"
    shown = on_a_terminal(f"{call} > '{file}'")
    assert "classifying" in shown
    assert "%" not in shown
    assert file.read_text() == subprocess.run(["bash", "-c", call], capture_output=True, text=True).stdout


def test_ctrl_c_says_how_far_it_came(model: Path, images: Path) -> None:
    # The same pictures many times over: more than can be classified before the signal comes.
    call = [*ALEXNET, "infer", "--engine", str(model), "--batch", "1", *[str(images)] * 2000]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rows = 1 + len(process.stdout.readlines())
    error = process.stderr.read()
    assert process.wait(timeout=30) == 130
    said = re.fullmatch(r"Error: stopped after (\d+) pictures; .*\n", error)
    # The signal may fall between a row and its being counted.
    assert said is not None, error
    assert abs(int(said[1]) - rows) <= 1


def test_quiet_leaves_standard_error_to_errors(model: Path, images: Path, run_cli: Cli) -> None:
    assert run_cli("infer", "--engine", model, images, "--quiet").stderr == ""
    (images / "red" / "0.png").write_text("words")
    assert run_cli("infer", "--engine", model, images, "--quiet").stderr.startswith("skipped: ")


def test_strict_prints_nothing_of_a_json_document(model: Path, images: Path, run_cli: Cli) -> None:
    (images / "red" / "0.png").write_text("words")
    result = run_cli("infer", "--engine", model, images, "--strict", "--json")
    assert (result.exit_code, result.stdout) == (4, "")


def test_a_pipe_among_the_pictures_does_not_stop_the_others(model: Path, images: Path, run_cli: Cli) -> None:
    os.mkfifo(images / "pipe.jpg")
    result = run_cli("infer", "--engine", model, images)
    assert "pipe.jpg is not a file" in result.stderr
    assert "12 of 13 pictures classified" in result.stderr
