"""Figures 3 and 4 and Table 2, from a tiny network trained for two epochs."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")

from alexnet.errors import InputError, ModelError
from alexnet.reproduce import neighbours as neighbours_module
from alexnet.reproduce import table2 as table2_module
from alexnet.reproduce.kernels import colourfulness, kernels_of, normalised, reproduce_kernels
from alexnet.reproduce.page import Findings, import_figures, write_findings
from alexnet.reproduce.table2 import errors

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared pictures, two runs trained on them, and a model of the first."""
    from alexnet.cli import alexnet

    root = tmp_path_factory.mktemp("experiments")
    recipe = (
        "name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n[sgd]\nbatch = 16\n"
    )
    (root / "tiny.toml").write_text(recipe + "[schedule]\nepochs = 2\n")
    for line in (
        f"data make {root}/data --size 72 --train 40 --val 30 --workers 1",
        f"train --recipe {root}/tiny.toml --data {root}/data --out {root}/a",
        f"train --recipe {root}/tiny.toml --data {root}/data --out {root}/b --set seed=1",
        f"export {root}/a --onnx {root}/model.onnx",
    ):
        result = CliRunner().invoke(alexnet, line.split())
        assert result.exit_code == 0, result.output
    return root


def found(folder: Path, name: str) -> dict[str, object]:
    """Return the JSON of an experiment, whose picture and page must stand beside it."""
    values: dict[str, object] = json.loads((folder / f"{name}.json").read_text())
    png = (folder / f"{name}.png").read_bytes()
    Image.open(io.BytesIO(png)).verify()
    page = (folder / f"{name}.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert '<img alt="' in page
    for text in (str(values["ours"]), *values["facts"].values()):  # type: ignore[attr-defined]
        assert text.replace("&", "&amp;").replace("'", "&#x27;") in page
    return values


def test_kernels_of_a_run_and_of_its_model_are_one_figure(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    said = [run_cli("reproduce", "kernels", trained / name, "-o", tmp_path / name[0]) for name in ("a", "model.onnx")]
    assert [result.exit_code for result in said] == [0, 0], said[0].output + said[1].output
    assert "largely colour-specific" in said[0].output
    run, model = found(tmp_path / "a", "kernels"), found(tmp_path / "m", "kernels")
    assert run["colourfulness"] == model["colourfulness"]
    assert run["facts"] == model["facts"]
    assert [len(column) for column in run["colourfulness"]] == [3, 3]  # type: ignore[attr-defined]
    assert (tmp_path / "a" / "kernels.png").read_bytes() == (tmp_path / "m" / "kernels.png").read_bytes()


def test_colourfulness_is_0_of_grey_kernels_and_1_of_pure_colour() -> None:
    pattern = np.random.default_rng(0).normal(size=(2, 1, 5, 5)).astype(np.float32)
    grey = np.repeat(pattern, 3, axis=1) + 7.0
    colour = np.concatenate([pattern, -pattern, np.zeros_like(pattern)], axis=1)
    flat = np.full((1, 3, 5, 5), 4.0, dtype=np.float32)
    assert colourfulness(grey) == pytest.approx([0, 0], abs=1e-5)
    assert colourfulness(colour) == pytest.approx([1, 1], abs=1e-5)
    assert colourfulness(flat).tolist() == [0.0]
    assert np.isfinite(normalised(flat)).all()


def test_kernels_of_a_quantised_model_or_an_ensemble_are_refused(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    both = tmp_path / "both.onnx"
    assert run_cli("export", trained / "a", trained / "b", "--onnx", both).exit_code == 0
    with pytest.raises(ModelError, match="being an ensemble or quantised; give the run"):
        kernels_of(both)


def test_predictions_mark_the_true_class(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "model.onnx"):
        done = run_cli("reproduce", "predictions", trained / name, "--data", trained / "data", "-o", tmp_path / name[0])
        assert done.exit_code == 0, done.output
    run, model = found(tmp_path / "a", "predictions"), found(tmp_path / "m", "predictions")
    assert run["pictures"] == len(run["table"]) == 8  # type: ignore[arg-type]
    assert run["table"] == model["table"]
    rows = run["table"]
    first = sum(row["1."].rsplit(" ", 1)[0] == row["true class"] for row in rows)  # type: ignore[attr-defined]
    assert run["first"] == first
    assert first <= run["among_best"] <= 8  # type: ignore[operator]
    assert run["facts"]["seed"] == "0"  # type: ignore[index]


def test_neighbours_are_the_nearest_and_go_on_where_they_were_stopped(
    trained: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_module, "CHUNK", 16)
    monkeypatch.setattr(neighbours_module, "BATCH", 8)
    asked = ("reproduce", "neighbours", trained / "model.onnx", "--data", trained / "data", "-o")
    features, calls = neighbours_module._features, [0]

    def counted(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return features(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(neighbours_module, "_features", counted)
    assert run_cli(*asked, tmp_path / "x").exit_code != 0
    assert len(list((tmp_path / "x" / "features").glob("*.npy"))) == 2
    monkeypatch.setattr(neighbours_module, "_features", features)
    for name in ("x", "whole"):
        done = run_cli(*asked, tmp_path / name)
        assert done.exit_code == 0, done.output
    resumed, whole = found(tmp_path / "x", "neighbours"), found(tmp_path / "whole", "neighbours")
    assert resumed == whole
    assert whole["searched"] == 40
    kept = np.concatenate([np.load(file) for file in sorted((tmp_path / "whole" / "features").glob("*.npy"))])
    assert kept.shape == (40, whole["features"])
    for row in whole["table"]:  # type: ignore[attr-defined]
        distances = [float(re.search(r"\((.*)\)", row[f"{place}. nearest"])[1]) for place in range(1, 7)]  # type: ignore[index]
        assert distances == sorted(distances)


def test_a_run_has_no_features(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"alexnet export .* --onnx model\.onnx"):
        neighbours_module.reproduce_neighbours(trained / "a", trained / "data", 1, 9, 0, tmp_path, lambda *count: None)


def test_table2_averages_probabilities_and_asks_no_network_twice(
    trained: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("reproduce", "table2", trained / "a", trained / "b", "--data", trained / "data", "-o", tmp_path)
    done = run_cli(*asked)
    assert done.exit_code == 0, done.output
    values = found(tmp_path, "table2")
    evaluated = [json.loads(run_cli("evaluate", trained / name, trained / "data", "--json").stdout)[1] for name in "ab"]
    assert [entry["top1"] for entry in values["alone"]] == [entry["top1"] for entry in evaluated]  # type: ignore[attr-defined]
    files = sorted((tmp_path / "answers").glob("*.npy"))
    mean = np.mean([np.load(file) for file in files], axis=0)
    assert mean.shape == (30, 10)
    monkeypatch.setattr(table2_module.RunSubject, "probabilities", None, raising=False)
    monkeypatch.setattr("alexnet.reproduce.subjects.RunSubject.probabilities", None)
    assert run_cli(*asked).exit_code == 0
    assert found(tmp_path, "table2") == values


def test_the_same_network_twice_is_no_ensemble(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    data = ("--data", trained / "data", "-o", tmp_path)
    done = run_cli("reproduce", "table2", trained / "a", trained / "model.onnx", *data)
    assert (done.exit_code, "the same weights" in done.stderr) == (5, True)


def test_errors_count_the_first_and_the_best_five() -> None:
    answers = np.eye(7, dtype=np.float32)[[0, 1, 2]] + np.linspace(0, 0.5, 7, dtype=np.float32)
    assert errors(answers, np.array([0, 6, 3])) == (2 / 3, 0.0)
    assert errors(answers, np.array([0, 0, 0])) == (2 / 3, 2 / 3)


def test_a_page_escapes_what_it_is_given(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    made = Findings(
        "x",
        hostile,
        hostile,
        hostile,
        [("a", "b"), (hostile, hostile)],
        {},
        import_figures().Figure(),
        '"' + hostile,
        {},
    )
    page = write_findings(made, tmp_path)[2].read_text()
    assert "<script" not in page
    assert 'alt="&quot;&lt;script' in page


def test_the_same_findings_are_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    first, second = (write_findings(reproduce_kernels(trained / "a"), tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
