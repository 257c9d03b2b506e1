"""How fast a mesh of data x column ranks would train: a prediction from measured compute and the bytes that cross.

A step is what `alexnet train` does, one thing after another, nothing of it overlapped: compute; the columns'
activations and their gradients, exchanged layer by layer; one all-reduce of all gradients over the data ranks; two
scalars (the batch's loss, whether to stop). The batch is the recipe's, shared among the data ranks, so that every mesh
computes the same updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet.architecture import Architecture, layer_table
from alexnet.errors import InputError, RecipeError
from alexnet.files import read_json
from alexnet.recipe import Precision, Recipe
from alexnet.train.traffic import expected_traffic, gradient_bytes, returned_traffic

ASSUMPTIONS = (
    "nothing overlaps: compute, crossing and all-reduce follow one another, as in alexnet train",
    "all-reduce as a ring: 2 (D - 1) / D of the gradients' bytes, in 2 (D - 1) messages",
    "crossing: each column receives the others' activations, in the recipe's precision, and their gradients back; "
    "those of the weights are added up in float32",
    "a column computes 1 / C of the work, and small shares of a batch are computed as fast as the measured ones",
    "every rank has the network's bandwidth for itself; validation, checkpoints and waiting for data are not counted",
)


@dataclass(frozen=True)
class Compute:
    """What one device alone needs for a step: seconds for each picture, and for the step whatever its pictures.

    The second is the update of all weights and what it takes to start a step.
    """

    seconds_per_picture: float
    seconds_per_step: float = 0.0

    def step(self, pictures: int) -> float:
        """Return the seconds of a step of `pictures`."""
        return self.seconds_per_step + pictures * self.seconds_per_picture


@dataclass(frozen=True)
class Network:
    """What connects the ranks: bytes a second that each can receive while it sends, and seconds before each message."""

    bandwidth: float
    latency: float = 0.0

    def transfer(self, size: float, messages: int) -> float:
        """Return the seconds of `messages` messages of `size` bytes together."""
        return size / self.bandwidth + messages * self.latency


@dataclass(frozen=True)
class Mesh:
    """`data` ranks that share each batch, times `columns` ranks that share the network."""

    data: int
    columns: int

    @property
    def ranks(self) -> int:
        """The number of devices."""
        return self.data * self.columns


@dataclass(frozen=True)
class Prediction:
    """One mesh's step in seconds by what it is spent on, and what follows: images a second and scaling efficiency.

    `efficiency` is the rate over that of as many devices without communication, each as fast as one alone.
    """

    mesh: Mesh
    compute: float
    crossing: float
    reduction: float
    rate: float
    efficiency: float

    @property
    def seconds(self) -> float:
        """The seconds of a step."""
        return self.compute + self.crossing + self.reduction


@dataclass(frozen=True)
class Plan:
    """The predicted meshes, the one to choose, and the hours that the recipe's epochs take on each.

    `pictures` are those of the training part, of which each epoch sees every one.
    """

    recipe: Recipe
    compute: Compute
    network: Network
    predictions: tuple[Prediction, ...]
    pictures: int

    @property
    def recommended(self) -> Prediction:
        """The fastest mesh; of equally fast ones that with the fewest devices."""
        return max(self.predictions, key=lambda found: (found.rate, -found.mesh.ranks))

    def hours(self, prediction: Prediction) -> float:
        """Return the hours of the recipe's epochs."""
        return self.pictures * self.recipe.schedule.epochs / prediction.rate / 3600


def predict(
    architecture: Architecture,
    batch: int,
    mesh: Mesh,
    compute: Compute,
    network: Network,
    slower: float = 1.0,
    precision: Precision = "fp32",
) -> Prediction:
    """Return the prediction for one mesh and batches of `batch` pictures.

    `slower` is by how much each rank is slower for the others beside it: 1 where every rank has a device of its own,
    ranks over cores where they share a processor. It falls on communication too, which a processor's cores carry.
    In `precision` bf16 the activations cross in two bytes each; the gradients of the weights stay float32.
    """
    share = math.ceil(batch / mesh.data)
    computing = compute.step(share) / mesh.columns
    crossing = reduction = 0.0
    if mesh.columns > 1:
        forward = expected_traffic(architecture, share, precision)
        crossed = [*forward.values(), *returned_traffic(architecture, share, precision).values()]
        crossing = network.transfer(sum(crossed), len(crossed) * (mesh.columns - 1))
    if mesh.data > 1:
        size = gradient_bytes(architecture, mesh.columns)
        # The ring passes D - 1 parts to add them up and D - 1 to spread the sums, and the loss in the same way.
        messages = 2 * (mesh.data - 1)
        reduction = network.transfer(size * messages / mesh.data, 2 * messages)
    if mesh.ranks > 1:
        reduction += network.transfer(0, 2 * (mesh.ranks - 1))
    computing, crossing, reduction = computing * slower, crossing * slower, reduction * slower
    rate = batch / (computing + crossing + reduction)
    alone = batch / compute.step(batch)
    return Prediction(mesh, computing, crossing, reduction, rate, rate / (alone * mesh.ranks))


def meshes(devices: int, columns: int, batch: int) -> list[Mesh]:
    """Return the meshes to compare: 1, 2, 4, ... and all `devices`, the columns on one device or on one each.

    None has more data ranks than a batch has pictures.
    """
    numbers = sorted({*(2**power for power in range(devices.bit_length())), devices})
    return [mesh for mesh in meshes_of(numbers, columns) if mesh.data <= batch]


def meshes_of(numbers: Iterable[int], columns: int) -> list[Mesh]:
    """Return the meshes of so many ranks: the columns together, and on a rank each where they divide the number."""
    return [Mesh(ranks // wide, wide) for ranks in numbers for wide in sorted({1, columns}) if ranks % wide == 0]


def check_classes(recipe: Recipe) -> None:
    """Raise RecipeError when the recipe leaves its number of classes to the data."""
    if not recipe.network.classes:
        raise RecipeError(
            f"the recipe {recipe.name} takes as many classes as its data; say how many: --set network.classes=10"
        )


def stated_compute(rate: float) -> Compute:
    """Return the compute of a device that trains `rate` images a second, whatever its share of a batch."""
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"--images-per-second is {rate:g}, expected a number above 0")
    return Compute(1 / rate)


def read_compute(path: Path) -> Compute:
    """Return the compute in what `alexnet plan --json` printed; InputError when the file holds none."""
    values = read_json(path)
    try:
        return Compute(**{name: float(value) for name, value in values["compute"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} holds no measured compute ({error}); write it with: alexnet plan --measure --json ... > {path}"
        ) from None


def make_plan(recipe: Recipe, devices: int, compute: Compute, network: Network, pictures: int) -> Plan:
    """Return the plan of a recipe on up to `devices` devices.

    Raises RecipeError when the recipe leaves its classes to the data, and InputError for speeds of no meaning.
    """
    check_classes(recipe)
    if not (math.isfinite(network.bandwidth) and network.bandwidth > 0 and 0 <= network.latency < math.inf):
        raise InputError(
            f"a network of {network.bandwidth / 1e9:g} GB/s and {network.latency * 1e6:g} us was given; give --network "
            "a number above 0 and --latency one from 0 on"
        )
    times = (compute.seconds_per_picture, compute.seconds_per_step)
    if not (all(0 <= value < math.inf for value in times) and sum(times) > 0):
        raise InputError(
            f"a step of n pictures takes {times[1]:g} + {times[0]:g} n seconds, expected numbers from 0 on and not "
            "both 0; measure them with: alexnet plan --measure"
        )
    architecture = layer_table(recipe.network)
    predictions = tuple(
        predict(architecture, recipe.sgd.batch, mesh, compute, network, precision=recipe.compute.precision)
        for mesh in meshes(devices, architecture.columns, recipe.sgd.batch)
    )
    return Plan(recipe, compute, network, predictions, pictures)


def plan_text(plan: Plan) -> str:
    """Return the plan as a table, the recommended mesh, and the assumptions."""
    recipe, best = plan.recipe, plan.recommended
    alone = recipe.sgd.batch / plan.compute.step(recipe.sgd.batch)
    epochs = f"hours for {recipe.schedule.epochs} epochs"
    lines = [
        f"{recipe.name}: {layer_table(recipe.network).parameters:,} parameters, batches of {recipe.sgd.batch}, one "
        f"device {alone:,.1f} images/s, network {plan.network.bandwidth / 1e9:g} GB/s, "
        f"{plan.network.latency * 1e6:g} us a message",
        f"data x column  devices    images/s  efficiency  compute ms  crossing ms  all-reduce ms  {epochs}",
    ]
    for found in plan.predictions:
        mesh = found.mesh
        times = f"{found.compute * 1e3:10.2f}  {found.crossing * 1e3:11.2f}  {found.reduction * 1e3:13.2f}"
        lines.append(
            f"{mesh.data:4} x {mesh.columns:<6}  {mesh.ranks:7}  {found.rate:10,.1f}  {found.efficiency:10.1%}  {times}"
            f"  {plan.hours(found):{len(epochs)},.1f}{'   <- recommended' if found is best else ''}"
        )
    lines.append(f"recommended: {_command(plan)}")
    return "\n".join([*lines, "assumptions:", *(f"- {text}" for text in ASSUMPTIONS)])


def _command(plan: Plan) -> str:
    """Return the command that trains on the recommended mesh."""
    mesh = plan.recommended.mesh
    train = f"alexnet train --recipe {plan.recipe.name}"
    if mesh.ranks == 1:
        return train
    split = " --columns split" if mesh.columns > 1 else ""
    return f"torchrun --nproc-per-node {mesh.ranks} -m {train}{split}"


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON values: seconds, bytes a second, images a second, hours."""
    rows = [
        {
            "data": found.mesh.data,
            "columns": found.mesh.columns,
            "images_per_second": found.rate,
            "efficiency": found.efficiency,
            "compute_seconds": found.compute,
            "crossing_seconds": found.crossing,
            "all_reduce_seconds": found.reduction,
            "hours": plan.hours(found),
            "recommended": found is plan.recommended,
        }
        for found in plan.predictions
    ]
    return {
        "recipe": plan.recipe.name,
        "batch": plan.recipe.sgd.batch,
        "epochs": plan.recipe.schedule.epochs,
        "pictures": plan.pictures,
        "compute": asdict(plan.compute),
        "network": asdict(plan.network),
        "meshes": rows,
        "assumptions": list(ASSUMPTIONS),
    }
