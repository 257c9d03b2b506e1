from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from alexnet.export import import_run
from alexnet.export.import_run import import_weights
from alexnet.files import read_json
from alexnet.labels import read_labels
from alexnet.run import Run, newest_run
from alexnet.train.checkpoint import load_checkpoint
from tests.export import caffe_nets as nets

Cli = Callable[..., Result]
CLASSES = tuple("abcde")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(nets.caffemodel(nets.caffe_weights(), "caffenet"))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for place, name in enumerate(CLASSES):
        for part, number in (("train", 3), ("val", 2)):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 50 * (place + 1), (280, 320, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{index}.png")
    return tmp_path / "data"


def test_the_run_takes_the_next_free_name_and_is_the_newest(
    weights: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)
    for number in (1, 2):
        result = run_cli("import", weights.name)
        assert (result.exit_code, f"runs/caffenet-00{number}: caffenet 8-12-16" in result.output) == (0, True)
        assert f"next: alexnet export runs/caffenet-00{number} --onnx --pictures DIR" in result.output
    assert newest_run(Path("runs")).path.name == "caffenet-002"
    assert sorted(path.name for path in Path("runs/caffenet-001").iterdir()) == [
        "checkpoint-00000-000000.safetensors",
        "checkpoint.json",
        "labels.json",
        "recipe.toml",
        "statistics.safetensors",
    ]
    again = run_cli("import", weights, "runs/caffenet-001")
    assert (again.exit_code, "exists already" in again.output) == (3, True)
    unproven = run_cli("export", "runs/caffenet-001", "--onnx")
    assert (unproven.exit_code, "--pictures DIR" in unproven.output) == (3, True)


def test_an_imported_run_is_evaluated_and_trained_on(weights: Path, data: Path, run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    made = run_cli("import", weights, tmp_path / "run", "--labels", tmp_path / "labels.txt", "--pictures", data / "val")
    assert made.exit_code == 0, made.output
    assert run_cli("export", tmp_path / "run", "--onnx", tmp_path / "model.onnx").exit_code == 0
    run, model = (run_cli("evaluate", tmp_path / source, data, "--json") for source in ("run", "model.onnx"))
    assert (run.exit_code, model.exit_code) == (0, 0), run.output + model.output
    assert json.loads(run.output)[1] == json.loads(model.output)[0]

    recipe = ("--recipe", tmp_path / "run" / "recipe.toml", "--data", data, "--out", tmp_path / "tuned")
    short = ("--set", "schedule.epochs=1", "--set", "sgd.learning_rate=0.00001")
    tuned = run_cli("train", *recipe, "--init-from", tmp_path / "run", *short)
    assert tuned.exit_code == 0, tuned.output
    origin = Run(tmp_path / "tuned").recipe().origin
    assert (origin.kind, origin.weights, origin.tuned) == ("caffenet", "net.caffemodel", True)
    first, later = (load_checkpoint(Run(tmp_path / name)).tensors["weights.conv3.weight"] for name in ("run", "tuned"))
    assert 0 < float((first - later).abs().max()) < 1e-3
    scratch = run_cli("train", *recipe[:4], "--out", tmp_path / "scratch", *short)
    assert scratch.exit_code == 0, scratch.output
    assert Run(tmp_path / "scratch").recipe().origin.kind == ""


def test_a_run_goes_on_from_imported_weights_with_data(weights: Path, data: Path, run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(list(CLASSES)))
    run_cli("import", weights, tmp_path / "run", "--labels", tmp_path / "labels.json")
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 90", "epochs = 1"))
    assert run_cli("train", "--resume", tmp_path / "run").exit_code == 3
    result = run_cli("train", "--resume", tmp_path / "run", "--data", data)
    assert result.exit_code == 0, result.output
    assert read_json(tmp_path / "run" / "checkpoint.json")["epoch"] == 1


def test_labels_of_every_form(tmp_path: Path) -> None:
    for name, text, expected in (
        ("a.txt", "n01 tench, Tinca\nn02 goldfish\n\n", ("n01 tench, Tinca", "n02 goldfish")),
        ("b.json", '["x", "y"]', ("x", "y")),
        ("c.json", '{"1": ["n02", "goldfish"], "0": ["n01", "tench"]}', ("n01 tench", "n02 goldfish")),
        ("d.json", '{"0": "x", "1": "y"}', ("x", "y")),
    ):
        (tmp_path / name).write_text(text)
        assert read_labels(tmp_path / name) == expected


def test_wrong_labels_pictures_and_kinds_are_one_line(weights: Path, run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "odd.json").write_text('{"0": "a", "2": "b"}')
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    for options, code, message in (
        (("--labels", "three.txt"), 3, "three.txt names 3 classes"),
        (("--labels", "odd.json"), 3, "is not a list of class names"),
        (("--labels", "bytes.txt"), 3, "cannot be read as text"),
        (("--labels", "absent.txt"), 3, "cannot be read as text"),
        (("--pictures", "absent"), 3, "cannot be opened"),
        (("--kind", "torchvision"), 5, "is neither safetensors nor torch's .pth"),
        (("--kind", "vgg"), 2, "is not one of"),
    ):
        value = options[1] if options[0] == "--kind" else tmp_path / options[1]
        result = run_cli("import", weights, tmp_path / "run", options[0], value)
        assert (result.exit_code, message in result.output) == (code, True), result.output
        assert not (tmp_path / "run").exists()
    absent = run_cli("import", tmp_path / "absent", tmp_path / "run")
    assert (absent.exit_code, "is not a file" in absent.output) == (3, True)


def test_a_failure_while_writing_leaves_nothing(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_run, "save_checkpoint", full)
    with pytest.raises(import_run.InputError, match="No space left on device"):
        import_weights(weights, tmp_path / "run", kind=None, mean=None, labels=None, pictures=None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.caffemodel"]


def test_an_ensemble_of_nets_that_see_other_pictures_is_refused(weights: Path, run_cli: Cli, tmp_path: Path) -> None:
    run_cli("import", weights, tmp_path / "warped")
    run_cli("import", weights, tmp_path / "cropped")
    recipe = tmp_path / "cropped" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('resize = "warp"', 'resize = "shorter"'))
    nets.photographs(tmp_path / "photos")
    options = ("--onnx", tmp_path / "model.onnx", "--pictures", tmp_path / "photos")
    result = run_cli("export", tmp_path / "warped", tmp_path / "cropped", *options)
    assert (result.exit_code, "must see the same pictures" in result.output) == (5, True), result.output
    assert not (tmp_path / "model.onnx").exists()
