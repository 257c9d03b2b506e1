"""What each ingredient of the network is worth: a recipe trained whole, and once without each of them.

The paper gives the differences in passing: two columns against one (section 3.2), response normalisation (3.3),
overlapping pooling (3.4), colour noise (4.1), dropout (4.2), a middle layer (section 7).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from alexnet.architecture import layer_table
from alexnet.errors import InputError, RecipeError
from alexnet.files import read_json, write_json
from alexnet.progress import Count
from alexnet.recipe import Recipe
from alexnet.reproduce.device_option import Device
from alexnet.reproduce.evaluate import Evaluation, evaluate
from alexnet.reproduce.page import Findings, facts_of, import_figures
from alexnet.reproduce.small_training import Progress
from alexnet.reproduce.training_facts import digest_of_parts, training_facts
from alexnet.run import Run
from alexnet.train.checkpoint import load_state
from alexnet.train.data.opened import Data, data_classes, open_data
from alexnet.train.session import Reporting, begin, resolve_recipe, resume

PAPER = (
    "top-1 and top-5 error rise by 1.7 and 1.2 points with one column of matched size, by 1.4 and 1.2 without response "
    "normalisation, by 0.4 and 0.3 without overlap in pooling; top-1 by over 1 point without colour noise and by about "
    "2 without a middle layer; without dropout the network overfits substantially (sections 3.2 to 4.2 and 7)"
)
SETTINGS, ERRORS = "settings.json", "errors.json"
# The convolution that is left out: the fourth of five, which changes neither the side of the maps nor their columns.
MIDDLE = 3
# Pictures asked at a time, ten crops each.
ASKED = 8


@dataclass(frozen=True)
class Variant:
    """A network to train: its name, the recipe, and how much the paper's errs more than its whole network, in words."""

    name: str
    recipe: Recipe
    paper_top1: str = ""
    paper_top5: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a variant: its errors from ten crops, its number of weights, and its training loss at the end."""

    variant: Variant
    errors: Evaluation
    parameters: int
    loss: float


def variants(recipe: Recipe) -> list[Variant]:
    """Return the whole network and it without each ingredient; RecipeError when it has fewer than five convolutions."""
    network, start = recipe.network, recipe.start
    if len(network.kernels) <= MIDDLE + 1:
        raise RecipeError(
            f"the recipe {recipe.name} has {len(network.kernels)} convolutions, the ablation of a middle one needs 5; "
            "give another --recipe"
        )

    def changed(name: str, top1: str, top5: str, **fields: Any) -> Variant:
        return Variant(name, replace(recipe, network=replace(network, **fields)), top1, top5)

    # The last convolution keeps its size, so that the fully connected layers, most of the weights, keep theirs.
    halved = (*(kernels // 2 for kernels in network.kernels[:-1]), network.kernels[-1])
    shorter: dict[str, Any] = {
        name: _without(getattr(network, name)) for name in ("kernels", "sizes", "strides", "sees", "steps")
    }
    spared: dict[str, Any] = {"spread": _without(start.spread), "bias": _without(start.bias)}
    return [
        Variant("whole", recipe),
        changed("one column", "+1.7", "+1.2", columns=1, kernels=halved),
        changed("no response normalisation", "+1.4", "+1.2", steps=_steps_without(network.steps, "lrn")),
        changed("pooling without overlap", "+0.4", "+0.3", pool_size=network.pool_stride),
        Variant("no colour noise", replace(recipe, augment=replace(recipe.augment, colour=0.0)), "over +1"),
        changed("no dropout", "overfits", "", dropout=0.0),
        Variant(
            f"no conv{MIDDLE + 1}",
            replace(recipe, network=replace(network, **shorter), start=replace(start, **spared)),
            "about +2",
        ),
    ]


def _without(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return one value a layer, without that of the middle convolution."""
    return (*values[:MIDDLE], *values[MIDDLE + 1 :])


def _steps_without(steps: tuple[tuple[Any, ...], ...], gone: str) -> tuple[tuple[Any, ...], ...]:
    """Return each convolution's steps, without those called `gone`."""
    return tuple(tuple(step for step in some if step != gone) for some in steps)


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe for another number of epochs, its drops of the learning rate at the same shares of them."""
    schedule = recipe.schedule
    drops = tuple(max(1, round(epoch * epochs / schedule.epochs)) for epoch in schedule.drop_after)
    return replace(recipe, schedule=replace(schedule, epochs=epochs, drop_after=drops))


def reproduce_ablations(
    recipe: Recipe, data: Path, epochs: int, seed: int, out: Path, device: torch.device, progress: Progress
) -> Findings:
    """Return the errors of the network and of each ablation, all from one seed, and their differences."""
    import_figures()
    recipe = resolve_recipe(replace(shortened(recipe, epochs), seed=seed), data_classes(data), data)
    with progress("reading pictures") as count:
        opened = open_data(data, recipe.data, lambda part: count)
    digest = digest_of_parts(data, list(opened.parts.values()))
    outcomes = [
        _outcome(variant, opened, digest, out / "members" / variant.name.replace(" ", "-"), device, progress)
        for variant in variants(recipe)
    ]
    whole, others = outcomes[0], outcomes[1:]
    worst = max(others, key=lambda outcome: outcome.errors.top1)
    number = whole.errors.pictures
    return Findings(
        name="ablations",
        title="Ablations: what each ingredient is worth",
        paper=PAPER,
        ours=f"{recipe.name} after {epochs} epochs errs on {whole.errors.top1:.2%} of {number:,} held-out pictures "
        f"(standard error {standard_error(whole.errors):.2%}); {sum(_points(whole, one) > 0 for one in others)} of "
        f"{len(others)} ablations err more, most of all {worst.variant.name}: {worst.errors.top1:.2%}",
        table=_table(outcomes),
        values={
            "networks": {
                outcome.variant.name: {
                    "top1": outcome.errors.top1,
                    "top5": outcome.errors.top5,
                    "parameters": outcome.parameters,
                    "training_loss": outcome.loss,
                }
                for outcome in outcomes
            }
        },
        picture=draw(outcomes),
        shown="rise of top-1 error in points when one ingredient is left out, here with its standard error and in the "
        "paper where it gives a figure",
        facts=facts_of(
            seed,
            ("torch",),
            recipe=recipe.name,
            epochs=str(epochs),
            batch=str(recipe.sgd.batch),
            learning_rate=f"{recipe.sgd.learning_rate:g}",
            **training_facts(digest, len(opened.parts["train"].labels), device),
        ),
    )


def standard_error(errors: Evaluation) -> float:
    """Return the standard error of a top-1 error, as a share: what drawing other pictures would change it by."""
    return float((errors.top1 * (1.0 - errors.top1) / errors.pictures) ** 0.5)


def _points(whole: Outcome, other: Outcome) -> float:
    """Return by how many points the top-1 error of another network is higher."""
    return 100.0 * (other.errors.top1 - whole.errors.top1)


def _outcome(
    variant: Variant, data: Data, digest: str, folder: Path, device: torch.device, progress: Progress
) -> Outcome:
    """Train a variant, or go on with it, and measure it once; InputError when its folder holds another one."""
    run = Run(folder)
    settings = {"data": digest}
    if run.checkpoint_path.is_file() and (run.recipe() != variant.recipe or read_json(folder / SETTINGS) != settings):
        raise InputError(f"{folder} was trained by another recipe or on other data; give another --out")
    write_json(folder / SETTINGS, settings)
    with progress(variant.name) as count:
        _train(run, variant.recipe, data, device, count)
    state, kept = load_state(run), folder / ERRORS
    if not kept.is_file() or read_json(kept)["weights"] != state.sha256:
        with progress(f"asking {variant.name}") as count:
            where: Device = "cpu" if device.type == "cpu" else "cuda"
            ten = evaluate(folder, data, best=False, batch=ASKED, count=count, device=where)[1]
        write_json(kept, {"weights": state.sha256, "errors": ten.to_values()})
    errors = Evaluation(**read_json(kept)["errors"])
    return Outcome(variant, errors, layer_table(variant.recipe.network).parameters, _last_loss(run))


def _train(run: Run, recipe: Recipe, data: Data, device: torch.device, count: Count) -> None:
    """Train a run to its end, from the start or from its last epoch."""
    batches = 0

    def on_batch(batch: int, number: int, loss: float) -> None:
        nonlocal batches
        batches += 1
        count(began * number + batches, recipe.schedule.epochs * number)

    reporting = Reporting(
        say=lambda text: None,
        loading=lambda part: count,
        on_batch=on_batch,
        on_epoch=lambda report: None,
        warn=lambda text: None,
        stop=lambda: False,
    )
    began = 0
    if not run.checkpoint_path.is_file():
        begin(recipe, data, run, reporting, device=device).fit()
    elif not load_state(run).finished:
        trainer = resume(run, data, reporting, device=device)
        began = trainer.state.epoch
        trainer.fit()


def _last_loss(run: Run) -> float:
    """Return the training loss of the last epoch."""
    return float(json.loads(run.metrics_path.read_text(encoding="utf-8").splitlines()[-1])["loss"])


def _table(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return a row for each network: errors, differences from the whole one, and the paper's differences."""
    rows: list[tuple[str, ...]] = [
        (
            "network",
            "weights",
            "top-1 error",
            "top-5 error",
            "top-1, points",
            "the paper's",
            "top-5, points",
            "the paper's top-5",
            "training loss",
        )
    ]
    whole = outcomes[0]
    for outcome in outcomes:
        errors, variant = outcome.errors, outcome.variant
        first = outcome is whole
        rows.append(
            (
                variant.name,
                f"{outcome.parameters:,}",
                f"{errors.top1:.2%}",
                f"{errors.top5:.2%}",
                "" if first else f"{_points(whole, outcome):+.1f}",
                variant.paper_top1,
                "" if first else f"{100 * (errors.top5 - whole.errors.top5):+.1f}",
                variant.paper_top5,
                f"{outcome.loss:.3f}",
            )
        )
    return rows


def draw(outcomes: Sequence[Outcome]) -> Any:
    """Return the figure: for each ablation the rise of top-1 error in points, here and in the paper."""
    figure = import_figures().Figure(figsize=(7.2, 4.0), layout="constrained")
    axis = figure.subplots()
    whole, others = outcomes[0], outcomes[1:]
    for place, outcome in enumerate(others):
        spread = 100.0 * (standard_error(whole.errors) ** 2 + standard_error(outcome.errors) ** 2) ** 0.5
        axis.barh(
            place - 0.18,
            _points(whole, outcome),
            0.34,
            color="#1f4e8c",
            xerr=spread,
            ecolor="#555555",
            capsize=3,
            label="here, with standard error" if place == 0 else None,
        )
        if theirs := _number(outcome.variant.paper_top1):
            axis.barh(place + 0.18, theirs, 0.34, color="#c0392b", label="the paper" if place == 0 else None)
    axis.set_yticks(range(len(others)), [outcome.variant.name for outcome in others])
    axis.invert_yaxis()
    axis.axvline(0.0, color="#444444", linewidth=0.8)
    axis.set_xlabel("rise of top-1 error, points")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _number(words: str) -> float | None:
    """Return the number of points in the paper's words, None where it gives none."""
    digits = words.rpartition("+")[2]
    return float(digits) if "+" in words else None
