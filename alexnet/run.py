"""The run directory: what one training run leaves, and how the newest is found.

runs/quickstart-001/
    recipe.toml                     the recipe as resolved, every field
    labels.json                     class names in the order of the outputs
    statistics.safetensors          the mean image and the colours' principal components
    samples.safetensors             held-out pictures for the proof of parity
    metrics.jsonl                   one line an epoch
    checkpoint.json                 which weights are current, with their digest
    checkpoint-00012.safetensors    weights and optimizer state after that epoch
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from alexnet.errors import InputError, RecipeError
from alexnet.files import read_json, write_bytes, write_json
from alexnet.recipe import Recipe
from alexnet.recipe_file import recipe_from_values, recipe_to_toml

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """The files of one run directory."""

    path: Path

    @property
    def recipe_path(self) -> Path:
        """The recipe as resolved."""
        return self.path / "recipe.toml"

    @property
    def labels_path(self) -> Path:
        """The class names."""
        return self.path / "labels.json"

    @property
    def statistics_path(self) -> Path:
        """The mean image and the principal components of the colours."""
        return self.path / "statistics.safetensors"

    @property
    def samples_path(self) -> Path:
        """Held-out pictures for the proof of parity."""
        return self.path / "samples.safetensors"

    @property
    def metrics_path(self) -> Path:
        """One JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        """The state that names the current weights."""
        return self.path / "checkpoint.json"

    def recipe(self) -> Recipe:
        """Return the recipe of the run; InputError when this is not a run directory."""
        if not self.recipe_path.is_file():
            raise InputError(f"{self.path} is not a run: it has no recipe.toml; make one with: alexnet train")
        try:
            return recipe_from_values(tomllib.loads(self.recipe_path.read_text(encoding="utf-8")))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{self.recipe_path} is not TOML: {error}") from None

    def labels(self) -> tuple[str, ...]:
        """Return the class names in the order of the outputs."""
        return tuple(str(label) for label in read_json(self.labels_path))

    def begin(self, recipe: Recipe, labels: tuple[str, ...]) -> None:
        """Make the directory and write the recipe and the labels."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.labels_path, list(labels))
        write_bytes(self.recipe_path, recipe_to_toml(recipe).encode())


def new_run(runs: Path, name: str) -> Run:
    """Return the next free directory `name-001`, `name-002`, ... under `runs`; it is not made yet."""
    taken = [
        int(found[1]) for entry in _entries(runs) if (found := re.fullmatch(rf"{re.escape(name)}-(\d+)", entry.name))
    ]
    return Run(runs / f"{name}-{max(taken, default=0) + 1:03d}")


def newest_run(runs: Path) -> Run:
    """Return the run under `runs` whose checkpoint was written last; InputError when there is none."""
    found = [Run(entry) for entry in _entries(runs) if Run(entry).checkpoint_path.is_file()]
    if not found:
        raise InputError(f"there is no run with a checkpoint under {runs}/; train one with: make train")
    return max(found, key=lambda run: run.checkpoint_path.stat().st_mtime_ns)


def _entries(runs: Path) -> list[Path]:
    """Return the folders under `runs`, or none when it does not exist."""
    return [entry for entry in sorted(runs.iterdir()) if entry.is_dir()] if runs.is_dir() else []
