"""`alexnet search`: the nearest pictures, by the index's own model only, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from alexnet.errors import InputError
from alexnet.runtime.retrieval.approximate import build_graph
from alexnet.runtime.retrieval.build import open_features
from alexnet.runtime.retrieval.search import Index
from tests.runtime.conftest import colour_model, png
from tests.runtime.test_infer import TORCHLESS

Cli = Callable[..., Result]


pytest.importorskip("usearch", reason="usearch is not installed: extra retrieval")


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """A green picture that is not quite one of the index."""
    (tmp_path / "query.png").write_bytes(png((30, 225, 40)))
    return tmp_path / "query.png"


@pytest.mark.parametrize("method", [(), ("--exact",)])
def test_the_nearest_pictures_are_found(index: Path, query: Path, run_cli: Cli, method: tuple[str, ...]) -> None:
    done = run_cli("search", index, query, "--top", "5", "--json", *method)
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert (values["method"], values["pictures"]) == ("exact" if method else "approximate", 12)
    near = values["queries"][0]["nearest"]
    assert [entry["class"] for entry in near[:4]] == ["green"] * 4 and near[4]["class"] != "green"
    assert {entry["name"] for entry in near[:4]} == {f"green/{number}.png" for number in range(4)}
    # The hidden layer is 0.05 times the mean colour: the distance of (30, 225, 40) to (20, 230, 20).
    assert near[0]["distance"] == pytest.approx(0.05 * (10**2 + 5**2 + 20**2) ** 0.5, rel=1e-3)
    assert [entry["distance"] for entry in near] == sorted(entry["distance"] for entry in near)
    assert [entry["rank"] for entry in near] == [1, 2, 3, 4, 5]


def test_several_pictures_are_answered_in_their_order(index: Path, images: Path, query: Path, run_cli: Cli) -> None:
    done = run_cli("search", index, images / "blue" / "0.png", query, "--top", "1")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert "the nearest of 12 pictures, approximate" in lines[0]
    assert lines[1].split()[:3] == ["1", "0.000", "blue"] and lines[3].split()[2] == "green"


def test_more_than_there_are_is_all_of_them(index: Path, query: Path, run_cli: Cli) -> None:
    for method in ((), ("--exact",)):
        done = run_cli("search", index, query, "--top", "100", "--json", *method)
        assert len(json.loads(done.stdout)["queries"][0]["nearest"]) == 12, done.output


def test_approximate_and_exact_agree_on_separated_rows(index: Path) -> None:
    opened = Index(index)
    layer = np.array(open_features(index)[5]) + np.array([0.01, 0.02, 0.03], dtype=np.float32)
    assert opened.nearest(layer, 4, "approximate") == opened.nearest(layer, 4, "exact")


def test_features_beyond_float16_are_refused_by_the_graph(tmp_path: Path) -> None:
    rows = np.array([[1.0, 2.0], [1.0, 70_000.0]], dtype=np.float32)
    with pytest.raises(InputError, match=r"up to 70,000 .* --no-approximate"):
        build_graph(rows, tmp_path / "graph", lambda done, total: None)
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_is_a_png(index: Path, query: Path, tmp_path: Path, run_cli: Cli) -> None:
    done = run_cli("search", index, query, "--show", tmp_path / "shown.jpg")
    assert (done.exit_code, "suffix .png" in done.stderr) == (2, True), done.stderr


def test_what_was_found_is_drawn(index: Path, query: Path, tmp_path: Path, run_cli: Cli, images: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")
    done = run_cli("search", index, query, "--show", tmp_path / "shown.png")
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.format == "PNG"
        pixels = np.asarray(shown.convert("RGB")).reshape(-1, 3)
    for colour in ((30, 225, 40), (20, 230, 20)):
        assert (pixels == colour).all(axis=1).any(), colour
    (images / "red" / "9.png").write_bytes(png((250, 0, 0)))
    done = run_cli("search", index, query, "--show", tmp_path / "again.png")
    assert (done.exit_code, "is not what was indexed" in done.stderr) == (3, True), done.stderr
    assert not (tmp_path / "again.png").exists()


def test_another_model_is_refused_and_the_same_one_elsewhere_is_taken(
    index: Path, hidden: Path, query: Path, tmp_path: Path, run_cli: Cli
) -> None:
    other = colour_model(tmp_path / "other.onnx", gain=0.07)
    done = run_cli("search", index, query, "--engine", other)
    assert (done.exit_code, "is not the model of" in done.stderr) == (5, True), done.stderr
    shutil.move(hidden, tmp_path / "moved.onnx")
    gone = run_cli("search", index, query)
    assert (gone.exit_code, "say where it is with --engine" in gone.stderr) == (3, True), gone.stderr
    assert run_cli("search", index, query, "--engine", tmp_path / "moved.onnx").exit_code == 0
    colour_model(hidden, gain=0.07)
    changed = run_cli("search", index, query)
    assert (changed.exit_code, changed.stderr.count("\n")) == (5, 1), changed.stderr


def test_what_is_no_index_or_no_picture_is_said_on_one_line(
    index: Path, images: Path, query: Path, tmp_path: Path, run_cli: Cli
) -> None:
    words = tmp_path / "words.png"
    words.write_text("words")
    for place, picture, code, said in (
        (images, query, 3, "is not an index; make it"),
        (tmp_path / "nowhere", query, 3, "is not an index"),
        (index, words, 4, "is not a picture"),
        (index, tmp_path / "gone.png", 4, "cannot be read"),
    ):
        done = run_cli("search", place, picture)
        assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
        assert (done.stderr.count("\n"), done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("approximate.usearch", b"graph", "another size than the manifest says"),
        ("features.npy", b"rows", "cannot be read"),
        ("pictures.json", b'{"names": [], "classes": []}', "is not of the manifest"),
        ("index.json", b'{"format": 99}', "is not of format 1"),
        ("index.json", b'{"format": 1}', "is damaged"),
    ],
)
def test_a_damaged_index_is_said(index: Path, query: Path, run_cli: Cli, name: str, data: bytes, said: str) -> None:
    (index / name).write_bytes(data)
    done = run_cli("search", index, query)
    assert (done.exit_code, said in done.stderr) == (3, True), done.stderr


def test_a_graph_that_is_none_is_said(index: Path, query: Path, run_cli: Cli) -> None:
    graph = index / "approximate.usearch"
    graph.write_bytes(bytes(graph.stat().st_size))
    done = run_cli("search", index, query)
    assert (done.exit_code, "search with --exact" in done.stderr) == (3, True), done.stderr
    assert run_cli("search", index, query, "--exact").exit_code == 0


def test_usearch_is_needed_for_the_approximate_search_only(
    index: Path, query: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    done = run_cli("search", index, query)
    assert done.exit_code == 7, done.output
    assert "(--exact does without)" in done.stderr and "[retrieval]" in done.stderr
    assert run_cli("search", index, query, "--exact").exit_code == 0


def test_searching_works_with_torch_blocked(index: Path, query: Path) -> None:
    call = [sys.executable, "-c", TORCHLESS, "search", str(index), str(query)]
    out = subprocess.run(call, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "green" in out.stdout
