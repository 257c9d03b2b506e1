"""`alexnet infer` as its user meets it: results on standard output, everything else on standard error."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.runtime.conftest import LABELS, colour_model, metadata, png

Cli = Callable[..., Result]


def test_the_table_has_a_line_a_picture_in_sorted_order(model: Path, images: Path, run_cli: Cli) -> None:
    result = run_cli("infer", "--engine", model, images)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(path) for path in sorted(images.rglob("*.png"))]
    assert [line.split()[1] for line in lines] == ["blue"] * 4 + ["green"] * 4 + ["red"] * 4
    assert "12 of 12 pictures classified, 0 skipped" in result.stderr
    assert "onnxruntime-cpu on CPU, fp32, 10 crops each" in result.stderr


def test_csv_ranks_the_classes(model: Path, images: Path, run_cli: Cli) -> None:
    rows = list(csv.DictReader(run_cli("infer", "--engine", model, images, "--csv", "--top", "2").stdout.splitlines()))
    assert len(rows) == 24
    assert [row["rank"] for row in rows[:2]] == ["1", "2"]
    assert float(rows[0]["probability"]) > 0.9 > float(rows[1]["probability"])


def test_json_says_what_made_it(model: Path, images: Path, run_cli: Cli) -> None:
    document = json.loads(run_cli("infer", "--engine", model, images, "--json").stdout)
    assert (document["backend"], document["device"], document["precision"]) == ("onnxruntime-cpu", "CPU", "fp32")
    assert document["checkpoint_sha256"] == "d" * 64
    first = document["pictures"][0]
    assert {answer["label"] for answer in first["classes"]} == set(LABELS)
    assert sum(answer["probability"] for answer in first["classes"]) == pytest.approx(1.0, abs=1e-6)


def test_the_batch_changes_nothing(model: Path, images: Path, run_cli: Cli) -> None:
    outputs = {run_cli("infer", "--engine", model, images, "--csv", "--batch", str(n)).stdout for n in (1, 5, 12, 99)}
    assert len(outputs) == 1


@pytest.fixture
def hostile(images: Path) -> Path:
    (images / "green" / "0.png").write_text("only words")
    (images / "green" / "1.png").write_bytes(png((1, 2, 3))[:40])
    (images / "empty.jpg").write_bytes(b"")
    return images


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_bad_pictures_are_reported_counted_and_left_out(
    model: Path, hostile: Path, run_cli: Cli, form: tuple[str, ...]
) -> None:
    result = run_cli("infer", "--engine", model, hostile, "--batch", "2", *form)
    assert result.exit_code == 0
    assert "10 of 13 pictures classified, 3 skipped" in result.stderr
    assert result.stderr.count("skipped: ") == 3
    assert "green/0.png is not a picture" in result.stderr
    if form == ("--json",):
        pictures = json.loads(result.stdout)["pictures"]
        assert sum("error" in picture for picture in pictures) == 3
    elif form == ("--csv",):
        assert sum(bool(row["error"]) for row in csv.DictReader(result.stdout.splitlines())) == 3
    else:
        assert len(result.stdout.splitlines()) == 10


def test_strict_ends_at_the_first_bad_picture(model: Path, hostile: Path, run_cli: Cli) -> None:
    result = run_cli("infer", "--engine", model, hostile, "--strict")
    assert result.exit_code == 4
    assert "--strict" in result.stderr
    assert "classified" not in result.stderr


def test_a_folder_of_nothing_but_bad_pictures(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("words")
    result = run_cli("infer", "--engine", model, tmp_path / "bad")
    assert (result.exit_code, "none of the 1 pictures could be classified" in result.stderr) == (4, True)


def test_each_wrong_input_is_one_line_with_its_code(model: Path, tmp_path: Path, images: Path, run_cli: Cli) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("words")
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "lonely.plan").write_bytes(b"x")
    for engine, path, code, words in (
        (model, tmp_path / "empty", 3, "holds no pictures"),
        (model, tmp_path / "absent", 3, "/absent "),
        (tmp_path / "absent.onnx", images, 3, "does not exist; write one with"),
        (images, images, 3, "is a folder, not a model"),
        (tmp_path / "text.onnx", images, 5, "is not an ONNX model"),
        (tmp_path / "model.bin", images, 5, "is no model by its suffix, expected .onnx"),
        (tmp_path / "lonely.plan", images, 11, "has no sidecar"),
    ):
        result = run_cli("infer", "--engine", engine, path)
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def test_names_of_any_kind_are_printed_on_one_line(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("größe 猫.png", "two\nlines.png", "esc\x1b[31m.png"):
        (folder / name).write_bytes(png((250, 0, 0)))
    result = run_cli("infer", "--engine", model, folder)
    assert len(result.stdout.splitlines()) == 3
    assert "größe 猫.png" in result.stdout
    assert "\\n" in result.stdout
    assert "\x1b" not in result.stdout
    rows = list(csv.DictReader(run_cli("infer", "--engine", model, folder, "--csv").stdout.splitlines(keepends=True)))
    assert str(folder / "two\nlines.png") in {row["path"] for row in rows}


TORCHLESS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refuse())
import alexnet.runtime
from alexnet.cli import main
sys.argv = ["alexnet", *sys.argv[1:]]
try:
    main()
finally:
    assert "torch" not in sys.modules
    assert not [name for name in sys.modules if name.startswith(("alexnet.train", "alexnet.export"))]
"""


@pytest.mark.parametrize("command", ["infer", "check", "doctor"])
def test_the_runtime_works_with_torch_blocked(model: Path, images: Path, command: str) -> None:
    arguments = {"infer": ["--engine", str(model), str(images)], "check": [str(model)], "doctor": []}[command]
    call = [sys.executable, "-c", TORCHLESS, command, *arguments]
    out = subprocess.run(call, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert {"infer": "red", "check": "ok: it is the model", "doctor": "extra train"}[command] in out.stdout


def test_a_reader_that_goes_away_ends_it_quietly(model: Path, images: Path) -> None:
    call = f"'{sys.executable}' -m alexnet infer --engine '{model}' '{images}' --batch 1 | head -1"
    out = subprocess.run(["bash", "-c", call], capture_output=True, text=True)
    assert out.stdout.count("\n") == 1
    assert "Traceback" not in out.stderr


def test_a_model_of_other_shapes_than_it_says_is_refused(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    path = colour_model(tmp_path / "m.onnx", metadata(labels=("red", "green")))
    result = run_cli("infer", "--engine", path, images)
    assert (result.exit_code, "as its metadata says" in result.stderr) == (5, True)
