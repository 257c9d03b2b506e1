from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from alexnet.errors import InputError
from alexnet.pictures import Preprocessing
from alexnet.recipe import DataRecipe
from alexnet.train.data import prepare as preparing
from alexnet.train.data.folder import load_part
from alexnet.train.data.opened import open_data
from alexnet.train.data.shards import open_prepared
from alexnet.train.data.statistics import measure_statistics

Cli = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, tiny_data: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def prepare(source: Path, out: Path, **changes: object) -> preparing.Preparation:
    settings = {"side": 72, "form": "raw", "quality": 95, "workers": 1, "strict": False} | changes
    return preparing.prepare(str(source), out, progress=lambda done, total: None, **settings)  # type: ignore[arg-type]


def test_raw_shards_hold_what_the_folder_gives(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "SHARD", 4)
    done = prepare(data, tmp_path / "out")
    assert (done.pictures, done.skipped, done.classes) == ({"train": 21, "val": 9}, [], 3)
    prepared = open_prepared(tmp_path / "out")
    assert prepared.classes == ("across", "down", "noise")
    for name in ("train", "val"):
        direct, sharded = load_part(data, name, Preprocessing(72)), prepared.parts[name]
        assert np.array_equal(sharded.pictures[:], direct.pictures[:])
        assert np.array_equal(sharded.labels, direct.labels)
        assert sharded.names == direct.names
    chosen = np.array([20, 0, 4, 3, 20])
    train = load_part(data, "train", Preprocessing(72)).pictures
    assert np.array_equal(prepared.parts["train"].pictures[chosen], train[chosen])
    assert np.array_equal(prepared.parts["train"].pictures[3:9], train[3:9])
    one = prepared.parts["train"].pictures
    assert all(np.array_equal(one[place], train[place]) for place in (0, 3, len(train) - 1, -1))
    with pytest.raises(IndexError):
        one[len(train)]
    assert len(list((tmp_path / "out").glob("train-*.raw"))) == 6


def test_statistics_are_those_of_all_pictures_at_once(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "out")
    found = open_prepared(tmp_path / "out").statistics
    train = load_part(data, "train", Preprocessing(72)).pictures
    for mean in ("pixel", "channel"):
        expected = measure_statistics(train, mean)
        assert np.allclose(found.with_mean(mean).mean, expected.mean, atol=1e-4)
        assert np.allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-6)


def test_jpeg_shards_are_smaller_and_near(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "raw")
    prepare(data, tmp_path / "jpeg", form="jpeg", quality=60)
    raw, near = (open_prepared(tmp_path / name).parts["val"].pictures[:].astype(int) for name in ("raw", "jpeg"))
    assert 0 < np.abs(raw - near).mean() < 40
    sizes = {form: sum(path.stat().st_size for path in tmp_path.rglob(f"*.{form}")) for form in ("jpgs", "raw")}
    assert 0 < sizes["jpgs"] < 0.8 * sizes["raw"]


def test_two_processes_write_the_same_bytes(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "one")
    prepare(data, tmp_path / "two", workers=2)
    one, two = (json.loads((tmp_path / name / "index.json").read_text()) for name in ("one", "two"))
    assert one == two


KILLED = """
import os, signal, sys
from pathlib import Path
from alexnet.train.data import prepare
prepare.SHARD = 4
calls = 0
write = prepare.write_json
def count(path, value):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, value)
prepare.write_json = count
settings = dict(side=72, form="raw", quality=95, workers=1, strict=False)
prepare.prepare(sys.argv[1], Path(sys.argv[2]), progress=lambda done, total: None, **settings)
"""


def test_killed_it_is_unfinished_and_goes_on_to_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SHARD", 4)
    prepare(data, tmp_path / "whole")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(data), str(tmp_path / "out"), "5"], env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="not prepared to the end"):
        open_prepared(tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train-0000[0-2].raw")}
    prepare(data, tmp_path / "out")
    assert len(before) == 3
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before} == before
    for name in ("index.json", "statistics.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_settings_or_another_source_are_refused(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "out")
    with pytest.raises(InputError, match=r"begun with side 72, now 64 was asked for; choose another folder"):
        prepare(data, tmp_path / "out", side=64)
    (data / "train" / "down" / "0.png").unlink()
    with pytest.raises(InputError, match="begun with listing_sha256"):
        prepare(data, tmp_path / "out")
    with pytest.raises(InputError, match="is not empty"):
        prepare(data, data)


def test_a_bad_picture_is_left_out_and_listed_or_fatal(data: Path, tmp_path: Path, run_cli: Cli) -> None:
    (data / "train" / "down" / "3.png").write_text("words")
    result = run_cli("data", "prepare", data, tmp_path / "out", "--size", "72", "--workers", "1")
    assert result.exit_code == 0
    assert "20 pictures to train on and 9 held out, 3 classes, 1 skipped" in result.stdout
    assert "skipped: train/down/3.png is not a picture" in result.stderr
    assert len(open_prepared(tmp_path / "out").parts["train"].labels) == 20
    strict = run_cli("data", "prepare", data, tmp_path / "strict", "--size", "72", "--workers", "1", "--strict")
    assert strict.exit_code == 4
    assert not (tmp_path / "strict" / "index.json").exists()


def test_a_shard_of_another_size_is_refused(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "out")
    path = tmp_path / "out" / "train-00000.raw"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-00000.raw is missing or has another size"):
        open_prepared(tmp_path / "out")


def test_training_on_prepared_data_is_training_on_the_folder(data: Path, tmp_path: Path, run_cli: Cli) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text("name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n")
    prepare(data, tmp_path / "out")
    for source, run in ((data, "a"), (tmp_path / "out", "b")):
        options = ("--data", source, "--out", tmp_path / run, "--set", "schedule.epochs=1")
        result = run_cli("train", "--recipe", recipe, *options)
        assert result.exit_code == 0, result.output
    lines = [json.loads((tmp_path / run / "metrics.jsonl").read_text()) for run in ("a", "b")]
    assert lines[0]["loss"] == lines[1]["loss"]
    other = run_cli("train", "--recipe", "quickstart", "--data", tmp_path / "out", "--out", tmp_path / "c")
    assert (other.exit_code, "is prepared at 72 pixels, 128 are asked for" in other.output) == (3, True)


def test_warped_pictures_are_not_taken_for_cropped_ones(data: Path, tmp_path: Path, run_cli: Cli) -> None:
    warp = ("--size", "72", "--resize", "warp")
    done = run_cli("data", "prepare", data, tmp_path / "out", *warp)
    assert (done.exit_code, "--set data.resize=warp" in done.output) == (0, True), done.output
    warped = open_prepared(tmp_path / "out")
    assert warped.preprocessing == Preprocessing.of(DataRecipe(picture=72, resize="warp"))
    direct = load_part(data, "val", warped.preprocessing).pictures
    assert np.array_equal(warped.parts["val"].pictures[:], direct)
    assert run_cli("data", "prepare", data, tmp_path / "out", *warp).exit_code == 0
    again = run_cli("data", "prepare", data, tmp_path / "out", "--size", "72")
    assert (again.exit_code, "begun with resize 'warp'" in again.output) == (3, True), again.output
    with pytest.raises(InputError, match=r"prepare it again with --resize shorter, or add --set data.resize=warp"):
        open_data(tmp_path / "out", DataRecipe(picture=72), lambda part: lambda done, total: None)
