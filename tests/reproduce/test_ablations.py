"""Ablations on a tiny recipe and a few drawn pictures: which networks are trained, what is kept and printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("matplotlib", reason="matplotlib is not installed: extra plot")

from alexnet.architecture import layer_table
from alexnet.errors import RecipeError
from alexnet.recipe_file import load_recipe
from alexnet.reproduce import ablations
from alexnet.reproduce.ablations import shortened, variants
from alexnet.reproduce.training_facts import digest_of_parts
from alexnet.run import Run
from alexnet.train.data import opened
from alexnet.train.data.folder import Part, load_part
from alexnet.train.loop import Trainer
from alexnet.train.session import recorded_data

Cli = Callable[..., Result]
RECIPE = "name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n[sgd]\nbatch = 8\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from alexnet.cli import alexnet

    folder = tmp_path_factory.mktemp("ablations")
    (folder / "tiny.toml").write_text(RECIPE + "[schedule]\nepochs = 30\ndrop_after = [22, 28]\n")
    made = CliRunner().invoke(alexnet, f"data make {folder}/data --size 72 --train 24 --val 20 --workers 1".split())
    assert made.exit_code == 0, made.output
    return folder


def asked(root: Path, out: Path, *more: str) -> tuple[str | Path, ...]:
    given = ("--data", root / "data", "--recipe", root / "tiny.toml", "--device", "cpu", "--epochs", "2", "-o", out)
    return ("reproduce", "ablations", *given, *more)


def test_each_variant_changes_its_ingredient_alone() -> None:
    recipe = load_recipe("imagenet")
    made = {variant.name: variant.recipe for variant in variants(recipe)}
    tables = {name: layer_table(one.network) for name, one in made.items()}
    assert tables["whole"].parameters == 60_965_224
    # As many weights to within a twentieth, and the paper's kernels of one column.
    assert abs(tables["one column"].parameters / 60_965_224 - 1) < 0.05
    assert made["one column"].network.kernels == (48, 128, 192, 192, 256)
    assert {row.groups for row in tables["one column"].rows()} == {1}
    assert made["no response normalisation"].network.steps == (
        ("relu", "pool"),
        ("relu", "pool"),
        ("relu",),
        ("relu",),
        ("relu", "pool"),
    )
    assert (made["pooling without overlap"].network.pool_size, recipe.network.pool_size) == (2, 3)
    assert made["no colour noise"] == replace(recipe, augment=replace(recipe.augment, colour=0.0))
    assert made["no dropout"].network == replace(recipe.network, dropout=0.0)
    less = [(row.layer.name, row.output) for row in tables["no conv4"].rows()]
    whole = [(row.layer.name, row.output) for row in tables["whole"].rows()]
    assert [shape for _, shape in less] == [shape for name, shape in whole if name != "conv4"]
    assert len(made["no conv4"].start.spread) == 7


def test_a_recipe_without_a_middle_layer_is_refused() -> None:
    recipe = load_recipe("imagenet")
    network = {name: getattr(recipe.network, name)[:4] for name in ("kernels", "sizes", "strides", "sees", "steps")}
    start = replace(recipe.start, spread=(0.01,) * 7, bias=(0.0,) * 7)
    with pytest.raises(RecipeError, match="has 4 convolutions"):
        variants(replace(recipe, start=start, network=replace(recipe.network, **network)))


def test_drops_of_the_rate_keep_their_share_of_the_epochs() -> None:
    recipe = load_recipe("quickstart")
    assert shortened(recipe, 30) == recipe
    assert shortened(recipe, 15).schedule.drop_after == (11, 14)
    assert shortened(load_recipe("imagenet"), 9).schedule.drop_after == ()


def test_all_ablations_are_trained_and_stand_beside_the_papers(
    root: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_cli(*asked(root, tmp_path, "--seed", "3", "--set", "sgd.learning_rate=0.02"))
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads((tmp_path / "ablations.json").read_text())
    assert list(found["networks"]) == [
        "whole",
        "one column",
        "no response normalisation",
        "pooling without overlap",
        "no colour noise",
        "no dropout",
        "no conv4",
    ]
    evaluated = json.loads(run_cli("evaluate", tmp_path / "members" / "no-conv4", root / "data", "--json").stdout)
    assert found["networks"]["no conv4"]["top1"] == evaluated[1]["top1"]
    rows = {row["network"]: row for row in found["table"]}
    assert rows["no response normalisation"]["the paper's"] == "+1.4"
    whole, other = (found["networks"][name]["top1"] for name in ("whole", "no dropout"))
    assert rows["no dropout"]["top-1, points"] == f"{100 * (other - whole):+.1f}"
    page = (tmp_path / "ablations.html").read_text()
    for text in found["facts"].values():
        assert text in page
    assert (found["facts"]["seed"], found["facts"]["learning rate"]) == ("3", "0.02")
    # Nothing is trained or measured again.
    monkeypatch.setattr(Trainer, "fit", None)
    monkeypatch.setattr(ablations, "evaluate", None)
    assert run_cli(*asked(root, tmp_path, "--seed", "3", "--set", "sgd.learning_rate=0.02")).exit_code == 0
    assert json.loads((tmp_path / "ablations.json").read_text()) == found
    refused = run_cli(*asked(root, tmp_path, "--seed", "4"))
    assert (refused.exit_code, "give another --out" in refused.stderr) == (3, True)


def test_the_pictures_are_read_and_digested_once_for_all_networks(
    root: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, digested = list[str](), list[int]()

    def load(root: Path, part: str, *more: Any) -> Part:
        read.append(part)
        return load_part(root, part, *more)

    def digest(path: Path, parts: Sequence[Part]) -> str:
        digested.append(len(parts))
        return digest_of_parts(path, parts)

    monkeypatch.setattr(ablations, "variants", lambda recipe: variants(recipe)[:2])
    monkeypatch.setattr(opened, "load_part", load)
    monkeypatch.setattr(ablations, "digest_of_parts", digest)
    assert run_cli(*asked(root, tmp_path, "--epochs", "1")).exit_code == 0
    assert (read, digested) == (["train", "val"], [2])
    # The runs say where their data lie, as any other does, and go on with them.
    for name in ("whole", "one-column"):
        assert recorded_data(Run(tmp_path / "members" / name)) == str((root / "data").resolve())


def test_what_was_killed_goes_on_from_its_last_epoch(
    root: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "variants", lambda recipe: variants(recipe)[:2])
    assert run_cli(*asked(root, tmp_path / "whole")).exit_code == 0
    step, calls = Trainer._step, [0]

    def killed(*arguments: Any) -> float:
        calls[0] += 1
        if calls[0] == 11:
            raise KeyboardInterrupt
        return step(*arguments)

    # Three batches an epoch: the second network is stopped in its second epoch, and repeats that one alone.
    monkeypatch.setattr(Trainer, "_step", killed)
    assert run_cli(*asked(root, tmp_path / "x")).exit_code != 0
    done = run_cli(*asked(root, tmp_path / "x"))
    assert done.exit_code == 0, done.output
    assert calls[0] == 11 + 3
    found = [json.loads((tmp_path / name / "ablations.json").read_text()) for name in ("whole", "x")]
    assert found[0] == found[1]
