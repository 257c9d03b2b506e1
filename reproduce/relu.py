"""Figure 1: a four-layer convolutional network on CIFAR-10 learns faster with ReLUs than with tanh units.

The paper gives neither the layers nor the rates nor the start, only that no regularisation was used and that each
network's rate was chosen to make its training as fast as possible. Here both have three convolutions and a fully
connected layer and the same order of pictures; each of several rates trains for SWEEP epochs, and the one with the
lowest training error goes on to 25 %. How the weights start decides how much faster one unit is, so it is a choice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from alexnet.recipe import (
    AugmentRecipe,
    ComputeRecipe,
    DataRecipe,
    NetworkRecipe,
    Precision,
    Recipe,
    ScheduleRecipe,
    SgdRecipe,
)
from alexnet.reproduce.curves import label_curves
from alexnet.reproduce.page import Findings, facts_of, import_figures
from alexnet.reproduce.small_data import SmallData
from alexnet.reproduce.small_training import Epoch, Member, Progress, SmallTrainer, epochs_to
from alexnet.reproduce.training_facts import training_facts

Unit = Literal["relu", "tanh"]
UNITS: tuple[Unit, ...] = ("relu", "tanh")
PAPER = (
    "a four-layer convolutional network with ReLUs reaches 25 % training error on CIFAR-10 six times faster than one "
    "with tanh units, without regularisation, each at the rate that made it fastest (Figure 1)"
)
GOAL = 0.25
# The epochs after which a learning rate is chosen.
SWEEP = 3
# Kernels of the three convolutions, 5x5, each followed by max pooling of 3 every 2: those of cuda-convnet's
# layers-80sec.cfg, which averages in the last two poolings and has one fully connected layer more.
KERNELS = (32, 32, 64)
BATCH = 128


@dataclass(frozen=True)
class Start:
    """How weights start and pixels come in, and the learning rates that are tried.

    `spread` is the standard deviation of each layer's weights; without it a layer's is the root of `gain` of the unit
    over the inputs of a neuron. Centred pixels, -255 to 255, are divided by `divisor`. Biases start at 0.
    """

    rates: tuple[float, ...]
    divisor: float
    spread: tuple[float, ...] = ()
    gain: Mapping[Unit, float] = field(default_factory=dict)


# `source` has the spreads that layers-80sec.cfg gives these layers. `scaled` keeps the size of
# what passes through the layers: the largest of nine ReLUs has twice the mean square of their inputs, tanh units near 0
# pass on what they get.
STARTS = {
    "source": Start((0.0001, 0.0003, 0.001, 0.003, 0.01), 1.0, spread=(0.0001, 0.01, 0.01, 0.1)),
    "scaled": Start((0.003, 0.01, 0.03), 64.0, gain={"relu": 0.5, "tanh": 1.0}),
}


@dataclass(frozen=True)
class Curve:
    """What became of one unit: the rate chosen, its epochs, and the errors that the other rates had at the choice."""

    unit: Unit
    rate: float
    history: Sequence[Epoch]
    swept: dict[float, float]


def four_layers(unit: Unit, side: int, classes: int, seed: int, start: Start) -> nn.Sequential:
    """Return the network for pictures of `side` pixels; both units' weights are drawn from the same normal numbers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for place, kernels in enumerate(KERNELS, start=1):
        layers[f"conv{place}"] = nn.Conv2d(channels, kernels, 5, padding=2)
        layers[f"{unit}{place}"] = nn.ReLU() if unit == "relu" else nn.Tanh()
        layers[f"pool{place}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels, side = kernels, side // 2
    layers["flatten"] = nn.Flatten()
    layers["fc4"] = nn.Linear(channels * side * side, classes)
    network = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
        weights = [values for name, values in network.named_parameters() if name.endswith(".weight")]
        for place, weight in enumerate(weights):
            spread = start.spread[place] if start.spread else (start.gain[unit] / weight[0].numel()) ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
    return network


@dataclass(frozen=True)
class Setting:
    """What is the same for all networks of the figure: the name of the start, the seed, and the arithmetic."""

    start: str = "source"
    seed: int = 0
    precision: Precision = "fp32"


def member(unit: Unit, rate: float, data: SmallData, setting: Setting) -> Member:
    """Return the network of one unit at one rate: whole pictures in a new order each epoch, no decay, nothing else."""
    side, start = data.recipe.picture, STARTS[setting.start]
    recipe = Recipe(
        name="relu",
        seed=setting.seed,
        network=NetworkRecipe(classes=data.classes, crop=side),
        data=DataRecipe(side, data.recipe.resize, divisor=start.divisor),
        augment=AugmentRecipe(crops=False, mirrors=False, colour=0.0),
        sgd=SgdRecipe(BATCH, rate, weight_decay=0.0),
        # The rate stays what it is; where training ends is decided by the error.
        schedule=ScheduleRecipe(epochs=10**6, patience=10**6),
        compute=ComputeRecipe(precision=setting.precision),
    )
    return Member(f"{unit}-{rate:g}", recipe, four_layers(unit, side, data.classes, setting.seed, start))


def reproduce_relu(
    data: SmallData, epochs: int, setting: Setting, out: Path, device: torch.device, progress: Progress
) -> Findings:
    """Return Figure 1: both training curves, and the epochs that each took to 25 % training error."""
    import_figures()
    curves = [_train(unit, data, epochs, setting, out, device, progress) for unit in UNITS]
    reached = {curve.unit: epochs_to(curve.history, GOAL) for curve in curves}
    return Findings(
        name="relu",
        title="Figure 1: ReLU against tanh",
        paper=PAPER,
        ours=f"with the start {setting.start!r} {_words(curves, reached, len(data.train.labels))}",
        table=_table(curves, reached),
        values={
            "epochs_to_25_percent": reached,
            "learning_rate": {curve.unit: curve.rate for curve in curves},
            "sweep": {curve.unit: {f"{rate:g}": error for rate, error in curve.swept.items()} for curve in curves},
            "train_error": {curve.unit: [epoch.train_error for epoch in curve.history] for curve in curves},
            "val_error": {curve.unit: [epoch.val_error for epoch in curve.history] for curve in curves},
        },
        picture=draw(curves),
        shown="training error by epoch: ReLU solid, tanh dashed, 25 % dotted",
        facts=facts_of(
            setting.seed,
            ("torch",),
            start=setting.start,
            precision=setting.precision,
            **training_facts(data.digest, len(data.train.labels), device),
        ),
    )


def _train(
    unit: Unit, data: SmallData, epochs: int, setting: Setting, out: Path, device: torch.device, progress: Progress
) -> Curve:
    """Train each rate for the sweep, the best one on to the goal, and return its curve."""

    def enough(history: Sequence[Epoch]) -> bool:
        return epochs_to(history, GOAL) is not None

    def trained(rate: float, last: int) -> Sequence[Epoch]:
        one = member(unit, rate, data, setting)
        with progress(f"{unit} at {rate:g}") as count:
            return SmallTrainer(one, data, out / "members" / one.name, device).fit(last, enough, count)

    # A member that goes on was trained for longer than the others: compared is what it had at the choice.
    rates = STARTS[setting.start].rates
    swept = {rate: trained(rate, min(SWEEP, epochs))[:SWEEP] for rate in rates}
    rate = min(rates, key=lambda rate: (epochs_to(swept[rate], GOAL) or SWEEP + 1, swept[rate][-1].train_error))
    history = trained(rate, epochs)
    return Curve(unit, rate, history, {rate: found[-1].train_error for rate, found in swept.items()})


def _words(curves: Sequence[Curve], reached: dict[Unit, int | None], pictures: int) -> str:
    """Return what was found, in a sentence."""
    said = []
    for curve in curves:
        took = reached[curve.unit]
        last = f"is at {curve.history[-1].train_error:.1%} after {len(curve.history)}"
        name = "ReLU" if curve.unit == "relu" else "tanh"
        said.append(f"{name} at rate {curve.rate:g} " + (f"took {took} epochs to 25 %" if took else last))
    one, other = (reached[unit] for unit in UNITS)
    ratio = f": tanh took {other / one:.1f} times as many" if one and other else ""
    return f"on {pictures:,} training pictures {' and '.join(said)}{ratio}"


def _table(curves: Sequence[Curve], reached: dict[Unit, int | None]) -> list[tuple[str, ...]]:
    """Return a row for each rate that was tried, and what the chosen one came to."""
    rows: list[tuple[str, ...]] = [
        (
            "unit",
            "learning rate",
            f"training error after {SWEEP} epochs or its last",
            "epochs to 25 %",
            "held-out error then",
        )
    ]
    for curve in curves:
        for rate, error in curve.swept.items():
            took, held = "", ""
            if rate == curve.rate:
                took = str(reached[curve.unit] or f"not within {len(curve.history)}")
                held = f"{curve.history[-1].val_error:.1%}"
            rows.append((curve.unit, f"{rate:g}", f"{error:.1%}", took, held))
    return rows


def draw(curves: Sequence[Curve]) -> Any:
    """Return the figure, after the paper's: training error by epoch, ReLU solid and tanh dashed."""
    figure = import_figures().Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    styles = {"relu": ("-", "#1f4e8c", "ReLU"), "tanh": ("--", "#c0392b", "tanh")}
    for curve in curves:
        line, colour, name = styles[curve.unit]
        errors = [epoch.train_error for epoch in curve.history]
        axis.plot(range(1, len(errors) + 1), errors, line, color=colour, label=f"{name}, rate {curve.rate:g}")
    axis.axhline(GOAL, linestyle=":", color="#444444", label="25 %")
    label_curves(axis, "training error")
    return figure
