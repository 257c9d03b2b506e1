from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.runtime.conftest import colour_model, metadata, png

Cli = Callable[..., Result]
FORMS = ("--csv", "--jsonl")


@pytest.fixture
def odd(images: Path) -> Path:
    """Pictures with names that CSV must quote, some twice the same in their folders, and bad ones among them."""
    for name in ("two\nlines.png", 'a,"b".png', os.fsdecode(b"\xff.png")):
        (images / "red" / name).write_bytes(png((250, 0, 0)))
    (images / "green" / "2.png").write_text("words")
    (images / "red" / "3.png").write_text("words\n")
    return images


def infer(run_cli: Cli, model: Path, images: Path, out: Path, form: str, *more: str) -> Result:
    return run_cli("infer", "--engine", model, images, form, "-o", out, "--top", "2", "--batch", "2", *more)


@pytest.mark.parametrize("form", FORMS)
def test_cut_off_at_any_byte_the_file_is_completed_to_what_it_would_have_been(
    model: Path, odd: Path, tmp_path: Path, run_cli: Cli, form: str
) -> None:
    out = tmp_path / "out"
    assert infer(run_cli, model, odd, out, form).exit_code == 0
    whole = out.read_bytes()
    for length in {*range(0, len(whole), 61), *range(len(whole) - 60, len(whole) + 1)}:
        out.write_bytes(whole[:length])
        result = infer(run_cli, model, odd, out, form, "--resume")
        assert result.exit_code == 0, result.stderr
        assert out.read_bytes() == whole, length
        if length == len(whole):
            assert "15 pictures are done already" in result.stderr
            assert "0 of 0 pictures classified" in result.stderr


@pytest.mark.parametrize("form", FORMS)
def test_pictures_that_came_since_are_added(model: Path, odd: Path, tmp_path: Path, run_cli: Cli, form: str) -> None:
    out = tmp_path / "out"
    infer(run_cli, model, odd, out, form)
    before = out.read_bytes()
    (odd / "blue" / "00.png").write_bytes(png((0, 0, 250)))
    assert "1 of 1 pictures classified" in infer(run_cli, model, odd, out, form, "--resume").stderr
    assert out.read_bytes().startswith(before)
    assert b"blue/00.png" in out.read_bytes()[len(before) :]


def test_a_killed_run_is_gone_on_with(model: Path, images: Path, tmp_path: Path, run_cli: Cli) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["infer", "--engine", str(model), *[str(images)] * 100, "--jsonl", "-o", str(out), "--batch", "1"]
    process = subprocess.Popen([sys.executable, "-m", "alexnet", *arguments], stderr=subprocess.DEVNULL)
    while not out.exists() or out.stat().st_size < 1000:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = out.read_bytes().count(b"\n")
    assert 0 < done < 1200
    result = run_cli(*arguments, "--resume")
    assert f"{done} pictures are done already" in result.stderr
    paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert paths == [str(path) for path in sorted(images.rglob("*.png"))] * 100


@pytest.mark.parametrize(
    ("form", "more", "words"),
    [
        ("--csv", ("--top", "3"), "has not 3 classes, which are asked for now"),
        ("--jsonl", ("--top", "3"), "line 1 has 2 classes by onnxruntime-cpu CPU fp32, now 3 by"),
        ("--jsonl", ("--backend", "openvino-cpu"), "by onnxruntime-cpu CPU fp32, now 2 by openvino-cpu CPU fp32"),
    ],
)
def test_a_file_by_something_else_is_left_alone(
    model: Path, images: Path, tmp_path: Path, run_cli: Cli, form: str, more: tuple[str, ...], words: str
) -> None:
    if "openvino-cpu" in more:
        pytest.importorskip("openvino")
    out = tmp_path / "out"
    infer(run_cli, model, images, out, form)
    before = out.read_bytes()
    result = infer(run_cli, model, images, out, form, "--resume", *more)
    assert (result.exit_code, words in result.stderr) == (3, True), result.stderr
    assert out.read_bytes() == before


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_no_output_is_left_alone(
    model: Path, images: Path, tmp_path: Path, run_cli: Cli, form: str
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("my notes\nof years\n")
    result = infer(run_cli, model, images, out, form, "--resume")
    assert (result.exit_code, "cannot be gone on with" in result.stderr) == (3, True)
    assert out.read_text() == "my notes\nof years\n"


def test_what_cannot_be_resumed_is_said(
    model: Path, images: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("--csv",), ("--json", "-o", "x.json"), ("-o", "x"), ("--csv", "-o", "x", "--features", "f.npy")):
        result = run_cli("infer", "--engine", model, images, "--resume", *arguments)
        assert (result.exit_code, "--resume goes on with a file of --csv or --jsonl" in result.stderr) == (3, True)


@pytest.mark.parametrize("form", ["", "--csv", "--json", "--jsonl"])
def test_a_file_holds_what_standard_output_would(
    model: Path, images: Path, tmp_path: Path, run_cli: Cli, form: str
) -> None:
    options = [form] if form else []
    result = run_cli("infer", "--engine", model, images, *options, "-o", tmp_path / "new" / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "new" / "out").read_text() == run_cli("infer", "--engine", model, images, *options).stdout


def test_json_lines_say_what_made_them(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    path = colour_model(tmp_path / "m.onnx", metadata(labels=("red", "green", "blue")))
    (images / "red" / "0.png").write_text("words")
    lines = [json.loads(line) for line in run_cli("infer", "--engine", path, images, "--jsonl").stdout.splitlines()]
    assert len(lines) == 12
    assert all(
        (line["backend"], line["device"], line["precision"]) == ("onnxruntime-cpu", "CPU", "fp32") for line in lines
    )
    assert ["error" in line for line in lines].count(True) == 1
    assert lines[0]["classes"][0]["label"] == "blue"


def test_a_list_on_standard_input(model: Path, images: Path) -> None:
    find = f"find '{images}' -name '*.png' -print0 | sort -z"
    call = f"{find} | '{sys.executable}' -m alexnet infer --engine '{model}' --csv -"
    out = subprocess.run(["bash", "-c", call], capture_output=True, text=True)
    rows = list(csv.DictReader(out.stdout.splitlines()))
    assert [row["path"] for row in rows[::3]] == [str(path) for path in sorted(images.rglob("*.png"))]
