from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result

from alexnet.architecture import layer_table
from alexnet.files import sha256_of, write_json
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import Checkpoint, TrainingState, load_checkpoint, save_checkpoint
from alexnet.train.network import Network, start_weights
from alexnet.train.session import DATA, recorded_data

Cli = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, tiny_recipe: Recipe) -> Run:
    """A run of a network with an odd number of classes, so that the columns' last layers differ in size."""
    recipe = replace(tiny_recipe, network=replace(tiny_recipe.network, classes=3))
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    run = Run(tmp_path / "merged")
    run.begin(recipe, ("a", "b", "c"))
    tensors = {f"weights.{name}": value.detach() for name, value in network.named_parameters()}
    tensors |= {f"velocity.{name}": torch.randn_like(value) for name, value in network.named_parameters()}
    save_checkpoint(run, Checkpoint(TrainingState(epoch=4, best_error=0.25), tensors))
    return run


def test_there_and_back_every_bit_is_kept(run: Run, tmp_path: Path, run_cli: Cli) -> None:
    split, merged = tmp_path / "split", tmp_path / "again"
    write_json(run.path / DATA, {"data": "pictures"})
    assert run_cli("convert", run.path, split, "--columns", "split").exit_code == 0
    assert len(list(split.glob("checkpoint-*-column?of2.safetensors"))) == 2
    assert run_cli("convert", split, merged, "--columns", "merged").exit_code == 0
    before, middle, after = (load_checkpoint(Run(path)) for path in (run.path, split, merged))
    for found in (middle, after):
        assert found.tensors.keys() == before.tensors.keys()
        assert all(torch.equal(found.tensors[name], value) for name, value in before.tensors.items())
    (first,), (second,) = (list(path.glob("checkpoint-*.safetensors")) for path in (run.path, merged))
    assert sha256_of(first) == sha256_of(second)
    assert (after.state.epoch, after.state.best_error) == (4, 0.25)
    assert recorded_data(Run(merged)) == "pictures"


def test_a_damaged_column_is_refused(run: Run, tmp_path: Path, run_cli: Cli) -> None:
    split = tmp_path / "split"
    run_cli("convert", run.path, split, "--columns", "split")
    path = next(split.glob("*column1of2*"))
    path.write_bytes(path.read_bytes()[:-8])
    result = run_cli("convert", split, tmp_path / "again", "--columns", "merged")
    assert (result.exit_code, "column1of2" in result.stderr) == (3, True)
    assert not (tmp_path / "again").exists()


def test_an_existing_folder_is_not_written_over(run: Run, run_cli: Cli) -> None:
    result = run_cli("convert", run.path, run.path, "--columns", "split")
    assert (result.exit_code, "exists already" in result.stderr) == (3, True)
