"""`alexnet export` as its user types it: every switch, several runs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import Result

from alexnet.external import load_model
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack, parity_pack_beside
from tests.export.conftest import TINY, random_source, write_run

Cli = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three runs of one data set: two small networks, and one whose crops cannot share a stem."""
    recipes = (TINY, replace(TINY, columns=1), replace(TINY, crop=66))
    return [
        write_run(tmp_path / "runs" / f"net-{place}", random_source(recipe, seed=place))
        for place, recipe in enumerate(recipes)
    ]


def facts(path: Path) -> tuple[onnx.ModelProto, ModelMetadata]:
    model = load_model(path)
    return model, ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, str(path))


def test_every_switch_reaches_the_graph_and_its_metadata(runs: list[Path], run_cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    switches = ("--lrn", "native", "--stem", "shared", "--input", "float", "--opset", "20", "--batch", "4")
    result = run_cli("export", runs[0], "--onnx", out, *switches, "--external-data")
    assert result.exit_code == 0, result.output
    model, metadata = facts(out)
    assert (metadata.lrn, metadata.stem, metadata.input, metadata.batch, metadata.crops) == (
        "native",
        "shared",
        "float",
        4,
        10,
    )
    assert model.opset_import[0].version == 20
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
    assert any(node.op_type == "LRN" for node in model.graph.node)
    (weights,) = tmp_path.glob("m.onnx.*.data")
    assert f"its weights {weights.name}" in result.output
    assert run_cli("export", runs[0], "--onnx", out, "--crops", "one").exit_code == 0
    assert facts(out)[1].crops == ParityPack.load(parity_pack_beside(out)).crops == 1
    assert not weights.exists()


def test_several_runs_become_one_graph_that_averages_them(runs: list[Path], run_cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "both.onnx"
    result = run_cli("export", *runs[:2], "--onnx", out)
    assert result.exit_code == 0, result.output
    model, metadata = facts(out)
    assert len(metadata.members) == 2
    assert {"net1/conv1", "net2/conv1", "ensemble"} <= {node.name for node in model.graph.node}
    assert {"net1/lrn1", "net2/lrn1"} <= set(metadata.parity["layers"]["relative"])
    assert metadata.name == "random + random"
    assert run_cli("check", out).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{0}", "--batch", "0"], 2, "'0' is no batch, expected dynamic or a number of pictures from 1"),
        (["{0}", "--batch", "some"], 2, "'some' is no batch"),
        (["{0}", "--lrn", "wide"], 2, "'wide' is not one of 'conv', 'native', 'function', 'plugin'"),
        (
            ["{2}", "--stem", "shared"],
            5,
            "starts at pixel 7, no multiple of conv1's stride 4; export with --stem plain",
        ),
        (["{0}", "--stem", "shared", "--crops", "one"], 5, "export with --stem plain or --crops ten"),
        (["{0}", "--opset", "99"], 5, "opset 99 is not offered for fp32, expected 18 to 23"),
        (["{0}", "--opset", "18", "--precision", "bf16"], 5, "opset 18 is not offered for bf16, expected 22 to 23"),
        (["{0}", "{1}/absent"], 3, "is not a run"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line_and_nothing_is_written(
    runs: list[Path], run_cli: Cli, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    result = run_cli("export", *(part.format(*runs) for part in arguments), "--onnx", tmp_path / "new" / "m.onnx")
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("new/*"))


def test_runs_whose_classes_differ_are_no_ensemble(runs: list[Path], run_cli: Cli, tmp_path: Path) -> None:
    labels = runs[1] / "labels.json"
    labels.write_text(labels.read_text().replace("thing 0", "other"))
    result = run_cli("export", *runs[:2], "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "must name the same classes in one order" in result.output) == (5, True), result.output


def test_an_even_size_of_lrn_is_refused(runs: list[Path], run_cli: Cli, tmp_path: Path) -> None:
    recipe = runs[0] / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("lrn_size = 5", "lrn_size = 4"))
    result = run_cli("export", runs[0], "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "network.lrn_size is 4, expected odd" in result.output) == (9, True), result.output
    assert not (tmp_path / "m.onnx").exists()
