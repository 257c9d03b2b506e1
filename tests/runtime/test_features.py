from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

from alexnet.errors import InputError, MissingPackageError
from alexnet.runtime.features import GROUP, features_file
from tests.runtime.backends.test_onnx_file import changed, ten_crops_of_a_matrix
from tests.runtime.conftest import colour_model

Cli = Callable[..., Result]
DESCRIBED = {"backend": "a", "features": "mean"}


def rows(number: int) -> list[np.ndarray]:
    return list(np.random.default_rng(number).normal(size=(number, 7)).astype(np.float32))


def write(path: Path, number: int) -> None:
    with features_file(path, DESCRIBED) as add:
        for place, row in enumerate(rows(number)):
            add(Path(f"{place}.png"), row)


@pytest.mark.parametrize("number", [1, 3, GROUP + 5])
def test_npy_holds_the_rows_and_the_paths_stand_beside(tmp_path: Path, number: int) -> None:
    write(tmp_path / "f.npy", number)
    assert np.array_equal(np.load(tmp_path / "f.npy"), np.stack(rows(number)))
    assert json.loads((tmp_path / "f.npy.paths.json").read_text()) == {
        **DESCRIBED,
        "paths": [f"{place}.png" for place in range(number)],
    }


@pytest.mark.parametrize("number", [1, 3, GROUP + 5])
def test_parquet_holds_paths_and_rows(tmp_path: Path, number: int) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "f.parquet", number)
    table = parquet.read_table(tmp_path / "f.parquet")
    assert np.array_equal(np.array(table["features"].to_pylist(), dtype=np.float32), np.stack(rows(number)))
    assert table["path"].to_pylist() == [f"{place}.png" for place in range(number)]
    assert json.loads(table.schema.metadata[b"alexnet"]) == DESCRIBED


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_what_ends_early_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(RuntimeError), features_file(tmp_path / f"f{suffix}", DESCRIBED) as add:
        add(Path("a.png"), rows(1)[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_and_a_missing_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'.csv', expected one of .npy, .parquet"):
        write(tmp_path / "f.csv", 1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"pyarrow, .*\[parquet\]"):
        write(tmp_path / "f.parquet", 1)


def test_the_command_writes_them_beside_the_answers(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    path = changed(colour_model(tmp_path / "model.onnx"), ten_crops_of_a_matrix)
    found = {}
    (images / "red" / "0.png").write_text("words")
    for of in ("mean", "centre"):
        file = tmp_path / f"{of}.npy"
        result = run_cli("infer", "--engine", path, images, "--batch", "5", "--features", file, "--features-of", of)
        assert result.exit_code == 0, result.stderr
        assert len(result.stdout.splitlines()) == 11
        found[of] = np.load(file)
        beside = json.loads(file.with_name(f"{of}.npy.paths.json").read_text())
        assert (beside["features"], beside["backend"], len(beside["paths"])) == (of, "onnxruntime-cpu", 11)
    assert found["mean"].shape == (11, 3)
    assert np.abs(found["mean"] - found["centre"] - 0.5).max() < 1e-4


def test_weights_beside_the_model_are_no_obstacle(tmp_path: Path, images: Path, run_cli: Cli) -> None:
    found = []
    for name, external in (("one", False), ("two", True)):
        path = changed(colour_model(tmp_path / f"{name}.onnx"), ten_crops_of_a_matrix)
        if external:
            onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0)
        result = run_cli("infer", "--engine", path, images, "--features", tmp_path / f"{name}.npy", "--quiet")
        assert result.exit_code == 0, result.stderr
        found.append(np.load(tmp_path / f"{name}.npy"))
    assert np.array_equal(*found)
