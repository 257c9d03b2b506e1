"""Section 3.3: the four-layer network on CIFAR-10 with response normalisation and without, 11 % against 13 %.

The paper points to the layer and parameter files of cuda-convnet, which are followed here: 5x5 convolutions of 64
kernels, each with max pooling of 3 every 2, two locally connected layers of 32 maps, and the classes. Normalisation
stands between ReLU and pooling; its constants are those of the files, not the paper's for ImageNet. Pictures are
cropped by a quarter of their side and mirrored at random; testing averages ten views.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet.architecture import ResponseNorm
from alexnet.crops import CROPS
from alexnet.recipe import AugmentRecipe, DataRecipe, NetworkRecipe, Recipe, ScheduleRecipe, SgdRecipe
from alexnet.reproduce.curves import label_curves
from alexnet.reproduce.page import Findings, facts_of, import_figures
from alexnet.reproduce.small_data import SmallData
from alexnet.reproduce.small_training import Epoch, Member, Progress, SmallTrainer
from alexnet.reproduce.training_facts import training_facts
from alexnet.train.lrn import LocalResponseNorm

PAPER = (
    "a four-layer convolutional network errs on 13 % of CIFAR-10's test pictures without response normalisation and "
    "on 11 % with it (section 3.3)"
)
# Member -> the paper's test error in per cent.
ERRORS = {"without": 13, "with": 11}
# The files say scale 0.001, which the source divides by the size.
NORM = ResponseNorm(size=5, alpha=0.001 / 5, beta=0.75, k=1.0)
# Standard deviation of each layer's weights at the start, over the root of the width, as in `train.network`; and weight
# decay. Biases start at 0.
SPREAD = {"conv1": 0.0001, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc5": 0.01}
DECAY = {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc5": 0.004}
RATE = 0.001
MAPS, LOCAL_MAPS = 64, 32


class LocallyConnected(nn.Module):
    """A 3x3 layer whose kernels are not shared: each of side x side positions has its own, padded by 1."""

    def __init__(self, channels: int, maps: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.zeros(side * side, channels * 9, maps))
        self.bias = nn.Parameter(torch.zeros(maps, side, side))

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps [N, maps, side, side] of maps [N, channels, side, side]."""
        patches = functional.unfold(x, 3, padding=1).permute(2, 0, 1)
        maps = torch.bmm(patches, self.weight).permute(1, 2, 0)
        return maps.reshape(len(x), -1, self.side, self.side) + self.bias

    def extra_repr(self) -> str:
        """Return the layer's size, which tells one member's layers from another's."""
        return f"{list(self.weight.shape)}"


def local_network(normalised: bool, crop: int, classes: int, seed: int, width: float) -> nn.Sequential:
    """Return the network for crops of `crop` pixels with its start; with `normalised` two layers more, no weights more.

    `width` is a factor on the numbers of maps.
    """
    maps, local = max(1, round(MAPS * width)), max(1, round(LOCAL_MAPS * width))
    side = crop // 2 // 2
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for place, channels in ((1, 3), (2, maps)):
        layers[f"conv{place}"] = nn.Conv2d(channels, maps, 5, padding=2)
        layers[f"relu{place}"] = nn.ReLU()
        if normalised:
            layers[f"lrn{place}"] = LocalResponseNorm(NORM, maps, columns=1)
        layers[f"pool{place}"] = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers["local3"] = LocallyConnected(maps, local, side)
    layers["relu3"] = nn.ReLU()
    layers["local4"] = LocallyConnected(local, local, side)
    layers["relu4"] = nn.ReLU()
    layers["flatten"] = nn.Flatten()
    layers["fc5"] = nn.Linear(local * side * side, classes)
    network = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            layer, kind = name.split(".")
            spread = SPREAD[layer] * width**-0.5 if kind == "weight" else 0.0
            weight.copy_(torch.randn(weight.shape, generator=generator) * spread)
    return network


@dataclass(frozen=True)
class Budget:
    """What the paper's training is cut down by: passes over the pictures, pictures in a batch, a factor on the maps."""

    epochs: int
    batch: int
    width: float


def member(name: str, data: SmallData, budget: Budget, seed: int) -> Member:
    """Return the network `with` or `without` normalisation; the rate falls to a tenth for the last sixth of epochs."""
    epochs = budget.epochs
    side = data.recipe.picture
    crop = side - side // 4
    recipe = Recipe(
        name="lrn",
        seed=seed,
        network=NetworkRecipe(classes=data.classes, crop=crop),
        data=DataRecipe(side, data.recipe.resize),
        augment=AugmentRecipe(colour=0.0),
        sgd=SgdRecipe(budget.batch, RATE, bias_rate=2.0, decay_biases=False),
        schedule=ScheduleRecipe(epochs, drop_after=(epochs - max(1, epochs // 6),)),
    )
    return Member(name, recipe, local_network(name == "with", crop, data.classes, seed, budget.width), DECAY)


def reproduce_lrn(
    data: SmallData, budget: Budget, seed: int, out: Path, device: torch.device, progress: Progress
) -> Findings:
    """Return the test errors with and without normalisation, from ten views of each held-out picture."""
    import_figures()
    histories: dict[str, Sequence[Epoch]] = {}
    errors: dict[str, float] = {}
    for name in ERRORS:
        one = member(name, data, budget, seed)
        with progress(f"{name} normalisation") as count:
            trainer = SmallTrainer(one, data, out / "members" / name, device)
            histories[name] = trainer.fit(budget.epochs, lambda history: False, count)
            errors[name] = trainer.errors(CROPS).top1
    pictures = len(data.train.labels)
    return Findings(
        name="lrn",
        title="Section 3.3: response normalisation on CIFAR-10",
        paper=PAPER,
        ours=f"with {budget.width:g} times the maps, after {budget.epochs} epochs of {pictures:,} pictures, "
        f"{errors['without']:.2%} without and "
        f"{errors['with']:.2%} with normalisation, of {len(data.val.labels):,} held-out pictures",
        table=_table(errors, histories, len(data.val.labels)),
        values={
            "test_error": errors,
            "train_error": {name: [epoch.train_error for epoch in history] for name, history in histories.items()},
            "val_error": {name: [epoch.val_error for epoch in history] for name, history in histories.items()},
        },
        picture=draw(histories, errors),
        shown="held-out error of centre crops by epoch, with normalisation and without, and of ten views at the end",
        facts=facts_of(
            seed,
            ("torch",),
            width=f"{budget.width:g}",
            batch=str(budget.batch),
            **training_facts(data.digest, pictures, device),
        ),
    )


def _table(
    errors: Mapping[str, float], histories: Mapping[str, Sequence[Epoch]], pictures: int
) -> list[tuple[str, ...]]:
    """Return the rows for the page: each network's errors beside the paper's."""
    rows: list[tuple[str, ...]] = [
        ("normalisation", "test error, ten views", "the paper's", "standard error", "centre crop", "training error")
    ]
    for name, error in errors.items():
        last = histories[name][-1]
        spread = (error * (1.0 - error) / pictures) ** 0.5
        rows.append(
            (
                name,
                f"{error:.2%}",
                f"{ERRORS[name]} %",
                f"{spread:.2%}",
                f"{last.val_error:.2%}",
                f"{last.train_error:.2%}",
            )
        )
    return rows


def draw(histories: Mapping[str, Sequence[Epoch]], errors: Mapping[str, float]) -> Any:
    """Return the figure: the held-out error by epoch, and where ten views bring it at the end."""
    figure = import_figures().Figure(figsize=(6.0, 4.2), layout="constrained")
    axis = figure.subplots()
    for name, line, colour in (("without", "--", "#c0392b"), ("with", "-", "#1f4e8c")):
        held = [epoch.val_error for epoch in histories[name]]
        places = range(1, len(held) + 1)
        axis.plot(places, held, line, color=colour, label=f"{name} normalisation, centre crop")
        axis.plot(len(held), errors[name], "o", color=colour, label=f"{name}, ten views: {errors[name]:.1%}")
    label_curves(axis, "held-out error")
    return figure
