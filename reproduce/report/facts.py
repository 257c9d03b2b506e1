"""Where a page's figures come from: recipe against the paper's, versions, seeds, and digests of data and weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from alexnet import __version__
from alexnet.errors import InputError
from alexnet.export.source import Source
from alexnet.files import read_json, sha256_of
from alexnet.prepared import INDEX, PLAN, is_prepared
from alexnet.recipe import Recipe
from alexnet.recipe_file import recipe_to_values
from alexnet.run import Run
from alexnet.train.data.opened import data_classes
from alexnet.train.session import DATA

PACKAGES = ("numpy", "pillow", "matplotlib", "jinja2")


@dataclass(frozen=True)
class Fact:
    """One line of a table: a name, a value in words, and whether the value is a digest or a name of code."""

    name: str
    value: str
    code: bool = False


def recorded_data(run: Run) -> Path:
    """Return the data that a run was trained on, as it recorded them; InputError when it did not, or they are gone."""
    record = run.path / DATA
    if not record.is_file():
        raise InputError(f"{run.path} does not say what data it was trained on; give them with --data FOLDER")
    data = Path(str(read_json(record)["data"]))
    if not data.is_dir():
        raise InputError(f"the data of {run.path}, {data}, are not there any more; give them with --data FOLDER")
    return data


def recipe_rows(recipe: Recipe) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield each section of a recipe with its fields: name, value, and the paper's value where that is another."""
    mine, paper = recipe_to_values(recipe), recipe_to_values(Recipe())
    for section, fields in mine.items():
        if section == "origin" and not fields["kind"]:
            continue
        if isinstance(fields, dict):
            yield (
                section,
                [(name, _words(value), _other(value, paper[section][name])) for name, value in fields.items()],
            )


def _other(value: Any, paper: Any) -> str:
    """Return the paper's value where it differs, else nothing."""
    return "" if _words(value) == _words(paper) else _words(paper)


def _words(value: Any) -> str:
    """Return a recipe's value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return (" | " if value and isinstance(value[0], list | tuple) else ", ").join(map(_words, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def versions(source: Source, best: bool) -> list[Fact]:
    """Return what computed the page, and the seed and weights it speaks of."""
    threads = torch.get_num_threads()
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        Fact("seed", str(source.recipe.seed)),
        Fact("weights", "of the lowest validation error" if best else "of the last checkpoint"),
        Fact("checkpoint, SHA-256", source.checkpoint_sha256, code=True),
        Fact("toolchain", f"alexnet {__version__}"),
        Fact("answers computed by", f"torch {torch.__version__} on {_device(source)}, float32, {threads} threads"),
        Fact("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Fact("packages", packages),
    ]


def _device(source: Source) -> str:
    """Return what the network runs on."""
    return "the CPU" if next(source.network.parameters()).device.type == "cpu" else "a GPU"


def data_facts(data: Path, run: Run, validation_sha256: str, pictures: int) -> list[Fact]:
    """Return what data a run was trained and measured on, by digests; folders by their last name only."""
    facts = [Fact("data", data.resolve().name), Fact("classes", f"{len(data_classes(data)):,}")]
    if is_prepared(data):
        facts += _prepared(data)
    elif (data / "pictures.json").is_file():
        drawn = read_json(data / "pictures.json")
        words = f"embedded pictures, generator {drawn.get('generator_version')}, seed {drawn.get('seed')}"
        facts.append(Fact("source", f"{words}, {drawn.get('size')} pixels"))
    facts += [
        Fact("validation pictures", f"{pictures:,}"),
        Fact("validation names, labels and pixels, SHA-256", validation_sha256, code=True),
        Fact("mean image and colours of the training set, SHA-256", sha256_of(run.statistics_path), code=True),
        Fact("recipe.toml, SHA-256", sha256_of(run.recipe_path), code=True),
    ]
    return facts


def _prepared(data: Path) -> list[Fact]:
    """Return the source and the digests of prepared data; the index holds those of every shard."""
    index = read_json(data / INDEX)
    facts = [Fact("training pictures", f"{index['pictures']['train']:,}")]
    if (data / PLAN).is_file():
        plan = read_json(data / PLAN)
        facts += [
            Fact("source", Path(str(plan["source"])).name),
            Fact("listing of the source, SHA-256", str(plan["listing_sha256"]), code=True),
        ]
    return [*facts, Fact("index of all shards' digests, SHA-256", sha256_of(data / INDEX), code=True)]


def logged_epochs(run: Run) -> list[dict[str, Any]]:
    """Return the epochs that a run logged, oldest first; none for one that was imported."""
    if not run.metrics_path.is_file():
        return []
    lines = run.metrics_path.read_text(encoding="utf-8").splitlines()
    try:
        return [json.loads(line) for line in lines if line]
    except json.JSONDecodeError as error:
        raise InputError(f"{run.metrics_path} holds a line that is not JSON ({error}); remove that line") from None
