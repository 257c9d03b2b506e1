"""`alexnet index`: features to disk, killed and gone on with, and what stands in the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from filelock import FileLock
from PIL import Image

from alexnet.runtime.retrieval import stream
from tests.runtime.backends.test_onnx_file import changed, ten_crops_of_a_matrix
from tests.runtime.conftest import SIDE, colour_model, png

pytest.importorskip("usearch", reason="usearch is not installed: extra retrieval")

Cli = Callable[..., Result]


def manifest(folder: Path) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = json.loads((folder / "index.json").read_text())
    return values


def test_features_names_and_classes_stand_in_their_rows(index: Path, images: Path) -> None:
    features, pictures = np.load(index / "features.npy"), json.loads((index / "pictures.json").read_text())
    assert (features.shape, features.dtype) == ((12, 3), np.float32)
    assert pictures["names"][0] == "blue/0.png"
    assert pictures["classes"] == ["blue"] * 4 + ["green"] * 4 + ["red"] * 4
    # The mean over ten crops, each 1 brighter than the last, of 0.05 times the mean colour.
    wanted = {"blue": (1, 1, 11.5), "green": (1, 11.5, 1), "red": (11.5, 1, 1)}
    assert np.abs(features - 4.5 - [wanted[name] for name in pictures["classes"]]).max() < 1e-3
    said = manifest(index)
    assert said["features"]["rows"] == said["data"]["pictures"] == 12
    assert said["data"]["path"] == str(images.resolve())
    assert said["model"]["checkpoint_sha256"] == "d" * 64
    assert {"alexnet-toolchain", "numpy"} <= set(said["versions"])
    assert not list(index.glob("*.part"))


def test_the_centre_crop_is_another_index(
    hidden: Path, images: Path, index: Path, tmp_path: Path, run_cli: Cli
) -> None:
    arguments = ("index", hidden, images, "--features-of", "centre", "--quiet", "-o")
    refused = run_cli(*arguments, index)
    assert (refused.exit_code, "another choice of crops" in refused.stderr) == (3, True), refused.stderr
    assert run_cli(*arguments, tmp_path / "centre").exit_code == 0
    mean, centre = np.load(index / "features.npy"), np.load(tmp_path / "centre" / "features.npy")
    assert np.abs(mean - centre - 0.5).max() < 1e-3


KILLED = """
import os, signal, sys
from alexnet.runtime.retrieval import stream
stream.BLOCK = 5
write, rows = stream._write, 0
def dying(file, layer, length):
    global rows
    rows += 1
    if rows == 8:
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, layer, length)
stream._write = dying
from alexnet.cli import main
sys.argv = ["alexnet", *sys.argv[1:]]
main()
"""


def test_a_killed_run_goes_on_where_it_was(
    hidden: Path, images: Path, index: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "killed"
    arguments = ["index", str(hidden), str(images), "-o", str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert json.loads((out / "progress.json").read_text())["seen"] == 5
    assert (out / "features.part").stat().st_size == 128 + 7 * 12
    unfinished = run_cli("search", out, images / "red" / "0.png")
    assert (unfinished.exit_code, "is not finished" in unfinished.stderr) == (3, True), unfinished.stderr
    asked: list[int] = []
    results = stream._results

    def counted(backend: object, collection: object, places: range, *rest: object) -> object:
        asked.extend(places)
        return results(backend, collection, places, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "_results", counted)
    again = run_cli(*arguments)
    assert again.exit_code == 0, again.output
    assert "5 of 12 pictures are done already" in again.stderr
    assert asked == list(range(5, 12))
    assert (out / "features.npy").read_bytes() == (index / "features.npy").read_bytes()
    assert (out / "pictures.json").read_bytes() == (index / "pictures.json").read_bytes()
    assert manifest(out)["features"] == manifest(index)["features"]


def test_ctrl_c_says_that_the_same_command_goes_on(
    hidden: Path, images: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stream, "_write", stopped)
        done = run_cli("index", hidden, images, "-o", tmp_path / "out", "--quiet")
    assert (done.exit_code, "the same command goes on" in done.stderr) == (130, True), done.output
    assert run_cli("index", hidden, images, "-o", tmp_path / "out", "--quiet").exit_code == 0


def test_a_finished_index_is_not_computed_again_and_gets_what_it_lacks(
    hidden: Path, images: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("index", hidden, images, "-o", tmp_path / "out", "--quiet")
    done = run_cli(*arguments, "--no-approximate")
    assert (done.exit_code, done.stdout.strip().endswith("3 features each; exact")) == (0, True), done.output
    assert manifest(tmp_path / "out")["approximate"] is None
    searched = run_cli("search", tmp_path / "out", images / "red" / "0.png")
    assert "12 pictures, exact" in searched.stdout
    monkeypatch.setattr(stream, "_results", None)
    assert run_cli(*arguments).exit_code == 0
    assert manifest(tmp_path / "out")["approximate"]["scalar"] == "f16"
    assert "12 pictures, approximate" in run_cli("search", tmp_path / "out", images / "red" / "0.png").stdout


def test_pictures_that_cannot_be_decoded_are_said_and_left_out(
    hidden: Path, images: Path, tmp_path: Path, run_cli: Cli
) -> None:
    (images / "green" / "1.png").write_text("words")
    done = run_cli("index", hidden, images, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "11 pictures, 1 skipped" in done.stdout
    assert "skipped: green/1.png: " in done.stderr
    assert np.load(tmp_path / "out" / "features.npy").shape == (11, 3)
    assert "green/1.png" not in (tmp_path / "out" / "pictures.json").read_text()
    assert manifest(tmp_path / "out")["features"]["skipped"] == [5]
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")
    shown = run_cli("search", tmp_path / "out", images / "red" / "3.png", "--top", "4", "--show", tmp_path / "a.png")
    assert shown.exit_code == 0, shown.output
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    assert (pixels == (230, 20, 20)).all(axis=1).any() and not (pixels == (20, 230, 20)).all(axis=1).any()


def test_pictures_none_of_which_can_be_decoded_are_no_index(hidden: Path, tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("words")
    done = run_cli("index", hidden, tmp_path / "bad", "-o", tmp_path / "out", "--quiet")
    assert (done.exit_code, "none of the 1 pictures" in done.stderr) == (4, True), done.stderr
    assert not (tmp_path / "out" / "index.json").exists()


def test_prepared_data_are_indexed_by_part(hidden: Path, images: Path, tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("torch", reason="torch is not installed: preparing needs it")
    for part in ("train", "val"):
        for name in ("red", "green", "blue"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            colour = png(tuple(230 if name == other else 20 for other in ("red", "green", "blue")))  # type: ignore[arg-type]
            for number in range(2 if part == "train" else 1):
                (tmp_path / "data" / part / name / f"{number}.png").write_bytes(colour)
    for side in (SIDE, SIDE + 1):
        prepared = run_cli(
            "data", "prepare", tmp_path / "data", tmp_path / f"at{side}", "--size", side, "--workers", "1"
        )
        assert prepared.exit_code == 0, prepared.output
    for part, rows in (("train", 6), ("val", 3)):
        out = tmp_path / part
        done = run_cli("index", hidden, tmp_path / f"at{SIDE}", "--part", part, "-o", out, "--quiet")
        assert done.exit_code == 0, done.output
        assert (manifest(out)["features"]["rows"], manifest(out)["data"]["part"]) == (rows, part)
    near = run_cli("search", tmp_path / "train", images / "green" / "0.png", "--top", "2", "--json")
    assert [entry["class"] for entry in json.loads(near.stdout)["queries"][0]["nearest"]] == ["green"] * 2
    other = run_cli("index", hidden, tmp_path / f"at{SIDE}", "--part", "val", "-o", tmp_path / "train", "--quiet")
    assert (other.exit_code, "another part of the data" in other.stderr) == (3, True), other.stderr
    wrong = run_cli("index", hidden, tmp_path / f"at{SIDE + 1}", "-o", tmp_path / "wrong", "--quiet")
    assert (wrong.exit_code, f"--size {SIDE}" in wrong.stderr) == (3, True), wrong.stderr


def test_what_cannot_be_indexed_is_said_on_one_line(
    hidden: Path, images: Path, index: Path, tmp_path: Path, run_cli: Cli
) -> None:
    plain = colour_model(tmp_path / "plain.onnx")
    (tmp_path / "run").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.plan").write_bytes(b"")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for model, data, out, code, said in (
        (tmp_path / "run", images, "new", 3, "--onnx model.onnx"),
        (tmp_path / "m.plan", images, "new", 5, "give the ONNX model that it was built of"),
        (tmp_path / "none.onnx", images, "new", 3, "none.onnx"),
        (plain, images, "new", 5, "has no hidden layer"),
        (hidden, tmp_path / "empty", "new", 3, "holds no pictures"),
        (hidden, tmp_path / "gone", "new", 3, "cannot be opened"),
        (hidden, images / "red" / "0.png", "new", 3, "is a file, expected prepared data"),
        (hidden, images, "used", 3, "holds other files"),
        (hidden, images, "file", 3, "give another folder with -o"),
        (hidden, images / "red", "index", 3, "an index of another data set"),
    ):
        done = run_cli("index", model, data, "-o", tmp_path / out, "--quiet")
        assert (done.exit_code, said in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr
    done = run_cli("index", hidden, images, "--part", "val", "-o", tmp_path / "new", "--quiet")
    assert (done.exit_code, "leave --part out" in done.stderr) == (3, True), done.stderr
    assert (tmp_path / "used" / "file").read_text() == "mine"


def test_an_index_of_another_model_is_refused(index: Path, images: Path, tmp_path: Path, run_cli: Cli) -> None:
    other = changed(colour_model(tmp_path / "other.onnx", gain=0.07), ten_crops_of_a_matrix)
    done = run_cli("index", other, images, "-o", index, "--quiet")
    assert (done.exit_code, "an index of another model;" in done.stderr) == (3, True), done.stderr


def test_two_processes_do_not_write_one_index(index: Path, hidden: Path, images: Path, run_cli: Cli) -> None:
    with FileLock(index / ".lock"):
        done = run_cli("index", hidden, images, "-o", index, "--quiet")
    assert (done.exit_code, "another process" in done.stderr) == (3, True), done.stderr


def test_rows_that_are_gone_are_said(hidden: Path, images: Path, index: Path, run_cli: Cli) -> None:
    os.truncate(index / "features.npy", 140)
    done = run_cli("index", hidden, images, "-o", index, "--quiet")
    assert (done.exit_code, "index again" in done.stderr) == (3, True), done.stderr


def test_without_usearch_nothing_is_computed(
    hidden: Path, images: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    done = run_cli("index", hidden, images, "-o", tmp_path / "out")
    assert done.exit_code == 7, done.output
    assert "[retrieval]" in done.stderr and "(--no-approximate does without)" in done.stderr
    assert not (tmp_path / "out").exists()
    assert run_cli("index", hidden, images, "-o", tmp_path / "out", "--no-approximate", "--quiet").exit_code == 0
