from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from click.testing import Result

from alexnet.recipe_file import load_recipe
from alexnet.run import Run
from alexnet.runtime import inspect
from alexnet.runtime.backends import tensorrt
from alexnet.runtime.inspect import described, inspect_path, layer_names
from alexnet.sidecar import Sidecar, sidecar_beside
from tests.runtime.backends.test_tensorrt import write_plan
from tests.runtime.conftest import colour_model, metadata

Cli = Callable[..., Result]


def test_a_plan_from_its_sidecar(tmp_path: Path, run_cli: Cli) -> None:
    plan = write_plan(tmp_path, layers={"conv1": "int8", "lrn1": "fp32", "fc8": "int8"}, options={"opt_level": 5})
    facts = json.loads(run_cli("inspect", plan, "--json").stdout)
    assert facts["kind"] == "TensorRT plan"
    assert facts["digest"] == "as the sidecar says"
    assert facts["compute_capabilities"] == ["8.9", "12.0"]
    assert facts["layers"]["conv1"] == "int8"
    assert facts["options"] == {"opt_level": 5}
    assert facts["verified"] == "no: no GPU here"
    assert facts["loads_here"].startswith("no: ")
    text = run_cli("inspect", plan).stdout
    assert "int8: conv1, fc8; fp32: lrn1" in text
    assert "compute capabilities  8.9, 12.0" in text


def test_a_quantised_model_says_how_it_was_made_and_what_it_lost(tmp_path: Path, run_cli: Cli) -> None:
    top1 = {"before": 0.92, "after": 0.918, "pictures": 500}
    made = {"method": "mse", "pictures": 512, "kept": ["conv1", "fc8"], "accuracy": {"top1": top1}}
    model = colour_model(tmp_path / "m.onnx", metadata(precision="int8", calibration=made))
    assert inspect_path(model)["calibration"] == made
    text = run_cli("inspect", model).stdout
    assert "method mse, pictures 512" in text
    assert "conv1, fc8" in text
    assert "91.80%, in float32 92.00%, of 500 pictures" in text
    model = colour_model(tmp_path / "m.onnx", metadata(precision="int8", calibration={"method": "mse"}))
    assert "incomplete" in inspect_path(model)["top1"]


def test_other_bytes_are_said_and_a_bare_plan_is_not_loaded(tmp_path: Path, run_cli: Cli) -> None:
    plan = write_plan(tmp_path)
    plan.write_bytes(b"other")
    facts = inspect_path(plan)
    assert facts["digest"] == "NOT that of the sidecar"
    assert "its sidecar says" in facts["loads_here"]
    sidecar_beside(plan).write_text("{")
    assert run_cli("inspect", plan).exit_code == 11
    sidecar_beside(plan).unlink()
    assert inspect_path(plan)["sidecar"].startswith("none")


def test_an_engine_that_loads_tells_its_layers_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, closed = write_plan(tmp_path), []
    text = json.dumps({"Layers": ["conv1 + relu1", {"Name": "lrn1", "Precision": "FP32"}], "Bindings": []})
    inspector = SimpleNamespace(get_engine_information=lambda form: text)
    engine = SimpleNamespace(
        engine=SimpleNamespace(create_engine_inspector=lambda: inspector), close=lambda: closed.append(True)
    )
    monkeypatch.setattr(tensorrt, "open_engine", lambda path, options: engine)
    form = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))
    monkeypatch.setattr(inspect.importlib, "import_module", lambda name: form)
    gpu = SimpleNamespace(gpus=(SimpleNamespace(name="NVIDIA RTX 4090"),))
    monkeypatch.setattr(inspect, "find_gpus", lambda: gpu)
    facts = inspect_path(plan)
    assert facts["engine_layers"] == ["conv1 + relu1", "lrn1"]
    assert facts["loads_here"] == "yes, on NVIDIA RTX 4090"
    assert closed == [True]
    assert layer_names([]) == layer_names({}) == []


def test_a_model_from_its_metadata(model: Path, run_cli: Cli) -> None:
    facts = json.loads(run_cli("inspect", model, "--json").stdout)
    assert (facts["kind"], facts["labels"], facts["crops"]) == (
        "ONNX model",
        ["red", "green", "blue"],
        "10 of 24 pixels",
    )
    assert (facts["opsets"], facts["batch"], facts["parity_pack"]) == (
        {"ai.onnx": 18},
        "dynamic",
        f"{model.stem}.parity.safetensors",
    )


def test_another_tools_model_is_described_as_such(model: Path) -> None:
    proto = onnx.load(model)
    del proto.metadata_props[:]
    proto.producer_name = "pytorch"
    onnx.save(proto, model)
    facts = inspect_path(model)
    assert facts["made_by"] == "pytorch, not this toolchain: its labels are unknown"
    assert facts["outputs"] == ["probabilities"]


def test_a_run_from_its_recipe_and_its_checkpoint(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ())
    run = Run(tmp_path / "run")
    run.begin(recipe, tuple(f"thing {place}" for place in range(recipe.network.classes)))
    assert "none yet" in inspect_path(run.path)["checkpoint"]
    run.checkpoint_path.write_text(json.dumps({"epoch": 3, "sha256": "ab", "columns": []}))
    facts = inspect_path(run.path)
    assert facts["checkpoint"] == {"epoch": 3, "sha256": "ab"}
    assert (facts["recipe"], facts["parameters"]) == ("quickstart", 1_465_440)
    assert "1,465,440" in described(facts)


@pytest.mark.parametrize(
    ("name", "code", "words"), [("absent.plan", 3, "does not exist"), ("x.txt", 5, "neither .plan")]
)
def test_what_is_none_of_these_is_refused(tmp_path: Path, run_cli: Cli, name: str, code: int, words: str) -> None:
    (tmp_path / "x.txt").write_text("text")
    result = run_cli("inspect", tmp_path / name)
    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert run_cli("inspect", tmp_path).exit_code == 3


def test_neither_torch_nor_a_runtime_is_needed(model: Path) -> None:
    plan = write_plan(model.parent)
    sidecar = replace(Sidecar.load(plan), module="tensorrt")
    sidecar.save(sidecar_beside(plan))
    block = "import sys\nfor name in ('torch', 'onnxruntime', 'tensorrt', 'tensorrt_rtx'): sys.modules[name] = None\n"
    for path in (plan, model):
        script = f"{block}sys.argv = ['alexnet', 'inspect', {str(path)!r}]\nfrom alexnet.cli import main\nmain()"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "labels" in done.stdout
