from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import helper
from PIL import Image

from alexnet.errors import ModelError
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import source_from_run
from alexnet.metadata import ModelMetadata
from alexnet.parity import TOLERANCE, ParityPack, parity_pack_beside
from alexnet.reproduce.check import compare_subjects
from alexnet.run import Run
from alexnet.runtime.backends import BackendOptions, open_backend
from tests.export.conftest import SIDE, TINY, random_pictures, random_source, write_run
from tests.export.faults import FAULTS

Cli = Callable[..., Result]
Fault = Callable[[onnx.ModelProto], None]
NAMES = [f"picture {place}" for place in range(9)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of a small random network, its model and its pack."""
    root = tmp_path_factory.mktemp("check")
    pictures = random_pictures(9)
    run = write_run(root / "run", random_source(TINY), pictures)
    export_onnx([source_from_run(Run(run))], pictures, NAMES, root / "model.onnx")
    return root


@pytest.fixture
def here(exported: Path, tmp_path: Path) -> Path:
    """A copy of that folder to change."""
    return Path(shutil.copytree(exported, tmp_path / "here"))


def tampered(model: Path, fault: Fault, out: Path | None = None) -> Path:
    proto = onnx.load(model)
    fault(proto)
    onnx.save(proto, out or model)
    return out or model


def change_metadata(model: Path, **changes: object) -> Path:
    proto = onnx.load(model)
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, "")
    helper.set_model_props(proto, replace(metadata, **changes).to_properties())  # type: ignore[arg-type]
    onnx.save(proto, model)
    return model


def test_every_layer_of_a_model_holds_against_its_pack(exported: Path, run_cli: Cli) -> None:
    result = run_cli("check", exported / "model.onnx", "--layers")
    assert result.exit_code == 0, result.output
    assert "ok: it is the model that was trained" in result.stdout
    table = result.stdout.split("relative  tolerance\n")[1].splitlines()
    assert [line.split()[0] for line in table[:5]] == ["crops", "conv1", "relu1", "lrn1", "pool1"]
    assert table[20].split()[0] == "fc8"
    assert "<-" not in result.stdout


@pytest.mark.parametrize(("fault", "layer"), FAULTS)
def test_a_fault_in_a_model_file_is_located_against_its_pack(
    here: Path, run_cli: Cli, fault: Fault, layer: str
) -> None:
    model = tampered(here / "model.onnx", fault)
    result = run_cli("check", model, "--layers")
    assert result.exit_code == 6
    assert f"the first layer that differs is {layer}, by" in result.stderr
    (marked,) = (line for line in result.stdout.splitlines() if "<-" in line)
    assert marked.split()[0] == layer
    values = json.loads(run_cli("check", model, "--layers", "--json").stdout)
    assert (values["ok"], values["layers"]["first"]) == (False, layer)
    without = run_cli("check", model)
    assert (without.exit_code, "--layers" in without.stderr) == (6, True)


@pytest.mark.parametrize(("fault", "layer"), FAULTS)
@pytest.mark.parametrize("other", ["run", "model.onnx"])
def test_a_fault_is_located_against_the_run_and_another_model(
    here: Path, run_cli: Cli, fault: Fault, layer: str, other: str
) -> None:
    wrong = tampered(here / "model.onnx", fault, here / "wrong.onnx")
    for pair in ((here / other, wrong), (wrong, here / other)):
        result = run_cli("check", *pair, "--layers")
        assert result.exit_code == 6
        assert f"the first layer that differs is {layer}, by" in result.stderr


@pytest.mark.parametrize("pair", [("run", "model.onnx"), ("model.onnx", "run"), ("model.onnx", "copy.onnx")])
def test_two_that_agree_pass_with_all_their_layers(here: Path, run_cli: Cli, pair: tuple[str, str]) -> None:
    shutil.copy(here / "model.onnx", here / "copy.onnx")
    result = run_cli("check", *(here / name for name in pair), "--layers", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["ok"], values["pictures"], values["crops"]) == (True, 9, 10)
    assert (len(values["layers"]["relative"]), values["layers"]["lacking"]) == (21, [])
    assert values["source"].endswith("model.parity.safetensors")
    assert values["largest"] < 1e-5


def test_every_layer_of_an_ensemble_is_compared_and_a_fault_in_one_network_located(here: Path, run_cli: Cli) -> None:
    other = write_run(here / "other", random_source(TINY, seed=3))
    sources = [source_from_run(Run(path)) for path in (here / "run", other)]
    export_onnx(sources, random_pictures(9), NAMES, here / "both.onnx")
    values = json.loads(run_cli("check", here / "both.onnx", "--layers", "--json").stdout)
    assert (values["ok"], len(values["layers"]["relative"]), values["layers"]["lacking"]) == (True, 42, [])

    def spoil(model: onnx.ModelProto) -> None:
        (weight,) = (entry for entry in model.graph.initializer if entry.name == "net2/conv3.weight")
        weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))

    result = run_cli("check", tampered(here / "both.onnx", spoil), "--layers")
    assert (result.exit_code, "the first layer that differs is net2/conv3, by" in result.stderr) == (6, True)


def test_two_runs_answer_the_samples_and_other_weights_are_said(here: Path, run_cli: Cli) -> None:
    other = write_run(here / "other", random_source(TINY, seed=3))
    assert run_cli("check", here / "run", here / "run").exit_code == 0
    result = run_cli("check", here / "run", other, "--layers")
    assert result.exit_code == 6
    assert "samples.safetensors" in result.stdout
    assert "note: their weights are of different checkpoints" in result.stdout
    assert "the first layer that differs is crops" in result.stderr


def test_pictures_of_a_folder_are_answered_by_both_and_the_worst_is_named(here: Path, run_cli: Cli) -> None:
    for place, picture in enumerate(random_pictures(3, 90, seed=5)):
        (here / "photos" / "cats").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(here / "photos" / "cats" / f"{place}.png")
    values = json.loads(
        run_cli("check", here / "run", here / "model.onnx", "--images", here / "photos", "--json").stdout
    )
    assert (values["ok"], values["pictures"], values["layers"]) == (True, 3, None)
    assert values["worst"].startswith("cats/")
    assert values["source"] == str(here / "photos")


@pytest.mark.parametrize(
    "switches",
    [
        {"crops": "one"},
        {"stem": "shared"},
        {"stem": "deep"},
        {"precision": "fp16"},
        {"precision": "bf16"},
        {"lrn": "native"},
        {"lrn": "function", "precision": "bf16"},
        {"input": "float", "batch": 2},
        {"batch": 4, "stem": "shared"},
        {"external": True},
        {"external": True, "precision": "bf16"},
    ],
    ids=str,
)
def test_every_form_of_export_agrees_with_its_run_and_its_pack(
    here: Path, run_cli: Cli, switches: dict[str, Any]
) -> None:
    options = ExportOptions(**switches)
    export_onnx([source_from_run(Run(here / "run"))], random_pictures(9), NAMES, here / "other.onnx", options)
    assert run_cli("check", here / "other.onnx", "--layers").exit_code == 0
    result = run_cli("check", here / "run", here / "other.onnx", "--layers", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["crops"] == (1 if options.crops == "one" else 10)
    assert values["tolerance"] == TOLERANCE[options.precision]
    lacking = {
        "plain": [],
        "shared": ["crops", "conv1", "relu1"],
        "deep": ["crops", "conv1", "relu1", "lrn1", "pool1", "conv2", "relu2"],
    }
    assert values["layers"]["lacking"] == lacking[options.stem]


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"lrn": "function"},
        {"lrn": "native", "stem": "shared"},
        {"stem": "deep"},
        {"lrn": "function", "external": True},
    ],
    ids=str,
)
def test_openvino_answers_as_the_pack_expects(here: Path, switches: dict[str, Any]) -> None:
    pytest.importorskip("openvino")
    options = ExportOptions(**switches)
    export_onnx([source_from_run(Run(here / "run"))], random_pictures(9), NAMES, here / "other.onnx", options)
    pack = ParityPack.load(parity_pack_beside(here / "other.onnx"))
    backend = open_backend(here / "other.onnx", BackendOptions(name="openvino-cpu", threads=1))
    assert np.abs(backend.probabilities(pack.pictures) - pack.probabilities).max() < TOLERANCE["fp32"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": tuple("abcdefg")}, r"run knows 7 classes, .*other.onnx 7, and they differ \(a\)"),
        ({"crops": 1}, r"model.onnx answers from 10 crops a picture, .*other.onnx from one crop"),
    ],
)
def test_two_of_other_labels_or_crops_are_refused_and_both_named(
    here: Path, changes: dict[str, object], message: str
) -> None:
    other = change_metadata(Path(shutil.copy(here / "model.onnx", here / "other.onnx")), **changes)
    with pytest.raises(ModelError, match=message):
        compare_subjects(here / ("run" if "labels" in changes else "model.onnx"), other)


def test_a_run_prepares_pictures_as_its_recipe_says(here: Path) -> None:
    source = random_source(TINY)
    data = replace(source.recipe.data, resize="warp")
    warped = write_run(here / "warped", replace(source, recipe=replace(source.recipe, data=data)))
    export_onnx([source_from_run(Run(warped))], random_pictures(9), NAMES, here / "warped.onnx")
    assert compare_subjects(warped, here / "warped.onnx").fault() is None
    with pytest.raises(ModelError, match="prepares pictures by"):
        compare_subjects(warped, here / "model.onnx")


def test_two_of_other_preprocessing_are_refused_and_both_named(here: Path) -> None:
    small = write_run(here / "small", random_source(TINY, side=SIDE - 4))
    with pytest.raises(ModelError, match=r"model.onnx prepares pictures by .*, .*small by "):
        compare_subjects(here / "model.onnx", small)


def test_a_pack_of_another_form_of_crops_is_refused(here: Path, run_cli: Cli) -> None:
    pack = ParityPack.load(parity_pack_beside(here / "model.onnx"))
    replace(pack, crops=1).save(parity_pack_beside(here / "model.onnx"))
    result = run_cli("check", here / "model.onnx")
    assert (result.exit_code, "holds answers of one crop a picture" in result.stderr) == (5, True), result.stderr
    assert "answers from 10 crops; write both again" in result.stderr


def test_a_pack_without_layers_says_so(here: Path, run_cli: Cli) -> None:
    pack = ParityPack.load(parity_pack_beside(here / "model.onnx"))
    replace(pack, layers={}).save(parity_pack_beside(here / "model.onnx"))
    assert run_cli("check", here / "model.onnx").exit_code == 0
    result = run_cli("check", here / "model.onnx", "--layers")
    assert (result.exit_code, "holds no layer outputs" in result.stderr) == (3, True)


def test_nothing_to_answer_says_how_to_give_pictures(here: Path, run_cli: Cli) -> None:
    parity_pack_beside(here / "model.onnx").unlink()
    result = run_cli("check", here / "model.onnx", here / "model.onnx")
    assert (result.exit_code, "--images DIR" in result.stderr) == (3, True)


def test_wrong_uses_say_what_to_give(exported: Path, run_cli: Cli) -> None:
    for arguments, said in (
        ((exported / "run",), "a run is compared with a model or another run"),
        ((exported / "model.onnx", "--images", exported), "alexnet check A B --images DIR"),
        ((exported / "run", exported / "model.onnx", "--pack", exported / "p"), "--pack belongs to one model"),
    ):
        result = run_cli("check", *arguments)
        assert (result.exit_code, said in result.output) == (2, True), result.output
    assert run_cli("check", exported / "model.onnx", exported / "absent.onnx").exit_code == 3


def test_models_are_compared_without_torch(here: Path) -> None:
    shutil.copy(here / "model.onnx", here / "copy.onnx")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from alexnet.cli import alexnet\n"
        "alexnet(['check', *sys.argv[1:], '--layers'])"
    )
    for models in (["model.onnx"], ["model.onnx", "copy.onnx"]):
        done = subprocess.run([sys.executable, "-c", code, *models], cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-c", code, "run", "copy.onnx"], cwd=here, capture_output=True, text=True)
    assert (done.returncode, "comparing a run needs the package torch" in done.stderr) == (7, True), done.stderr


def test_nan_in_a_model_is_no_agreement_and_no_number(here: Path, run_cli: Cli) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        (bias,) = (entry for entry in model.graph.initializer if entry.name == "fc8.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(7, np.nan, dtype=np.float32), "fc8.bias"))

    wrong = tampered(here / "model.onnx", spoil, here / "wrong.onnx")
    shutil.copy(parity_pack_beside(here / "model.onnx"), parity_pack_beside(wrong))
    for pair in ((here / "model.onnx", wrong), (wrong, here / "model.onnx"), (wrong, wrong)):
        result = run_cli("check", *pair, "--layers", "--json")
        values = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
        assert (result.exit_code, values["ok"], values["largest"]) == (6, False, None)
        assert values["layers"]["first"] == "fc8"
