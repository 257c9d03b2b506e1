"""A training session: from a recipe and a data folder to a run directory, or on from a stopped run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from alexnet.architecture import layer_table
from alexnet.errors import InputError, RecipeError
from alexnet.files import read_json, write_json
from alexnet.recipe import OriginRecipe, Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import TrainingState, load_checkpoint, load_state, load_tensors
from alexnet.train.columns import SplitNetwork, split_state
from alexnet.train.data.folder import Part
from alexnet.train.data.opened import AnyData, Count, data_classes, open_data, path_of
from alexnet.train.data.statistics import Statistics, measure_statistics
from alexnet.train.device import channels_last
from alexnet.train.evaluate import AnyNetwork
from alexnet.train.loop import Trainer
from alexnet.train.mesh import World
from alexnet.train.network import Network, start_weights
from alexnet.train.report import EpochReport
from alexnet.train.samples import Samples, save_samples, spread_indices

DATA = "data.json"


@dataclass(frozen=True)
class Reporting:
    """Who is told what: `say` one line of text, `loading` and `on_batch` counts, `on_epoch` each report."""

    say: Callable[[str], None]
    loading: Callable[[str], Count]
    on_batch: Callable[[int, int, float], None]
    on_epoch: Callable[[EpochReport], None]
    warn: Callable[[str], None]
    stop: Callable[[], bool]


def recorded_data(run: Run) -> str:
    """Return the folder or URL that a run was begun with; InputError when it does not say."""
    values = read_json(run.path / DATA)
    if not isinstance(values, dict) or not (found := values.get("url") or values.get("data")):
        raise InputError(f"{run.path / DATA} does not say what data {run.path} is trained on; give them with --data")
    return str(found)


def resolve_recipe(recipe: Recipe, labels: tuple[str, ...], data: Path) -> Recipe:
    """Return the recipe with the number of classes of the data; RecipeError when the two disagree."""
    classes = recipe.network.classes
    if classes not in (0, len(labels)):
        raise RecipeError(
            f"the recipe {recipe.name} has {classes} classes, {data} has {len(labels)}; "
            f"give other data or add --set network.classes={len(labels)}"
        )
    return replace(recipe, network=replace(recipe.network, classes=len(labels)))


def begin(
    recipe: Recipe,
    data: AnyData,
    run: Run,
    reporting: Reporting,
    world: World | None = None,
    init_from: Run | None = None,
    device: torch.device | None = None,
    url: str = "",
) -> Trainer:
    """Return a trainer for a new run in `run`, with its recipe, labels, statistics and samples written.

    `data` is their folder, or they themselves where they are open already.
    `url` is where the data were fetched from, "" where they were not: the run goes on with the same.
    With `init_from` the weights of that run are taken in place of the recipe's start, all but the last layer's.
    In a world of several ranks each calls this alike, and the first one writes. It trains on `device`, or on the
    rank's GPU where there is one.
    """
    world = world or World()
    folder = path_of(data)
    labels = data_classes(folder)
    recipe = resolve_recipe(recipe, labels, folder)
    # A recipe taken from an imported run still names that run's weights: what counts is what this one starts from.
    origin = init_from.recipe().origin if init_from else OriginRecipe()
    recipe = replace(recipe, origin=replace(origin, tuned=bool(origin.kind)))
    network = Network(layer_table(recipe.network))
    opened = open_data(data, recipe.data, reporting.loading)
    train, val = opened.parts["train"], opened.parts["val"]
    if not len(val.labels):
        raise InputError(f"{folder}/val holds no pictures; the learning rate and the proof of parity need some")
    statistics = opened.statistics
    if statistics is None:
        reporting.say(f"measuring the mean image and the colours of {len(train.labels):,} pictures")
        statistics = measure_statistics(train.pictures, recipe.data.mean)
    start_weights(network, recipe)
    if init_from is not None:
        take_weights(network, init_from)
    if world.first:
        run.begin(recipe, labels)
        # Of a start that ended before its first checkpoint.
        run.metrics_path.unlink(missing_ok=True)
        write_json(run.path / DATA, {"data": str(folder.resolve()), **({"url": url} if url else {})})
        statistics.save(run.statistics_path)
        chosen = spread_indices(len(val.labels))
        names = [val.names[place] for place in chosen]
        save_samples(run, Samples(val.pictures[chosen], names, val.labels[chosen]))
    state = TrainingState(learning_rate=recipe.sgd.learning_rate)
    return _trainer(run, recipe, place(network, world, device), train, val, statistics, state, reporting, world)


def take_weights(network: Network, source: Run) -> None:
    """Copy a run's weights into `network`, all but those of the last layer, which keep their start.

    This is how section 6's nets, trained on the larger releases, are fine-tuned on ILSVRC-2012. Raises TrainingError
    when a layer has another shape.
    """
    last = network.stages[-1][0]
    tensors = dict(load_checkpoint(source).tensors)
    for kind in ("weight", "bias"):
        tensors[f"weights.{last}.{kind}"] = network.get_parameter(f"{last}.{kind}").detach().clone()
    load_tensors(network, tensors, source)


def place(network: Network, world: World, device: torch.device | None = None) -> AnyNetwork:
    """Return the merged network, or this rank's column of it, on `device` or else on the rank's own."""
    found: AnyNetwork = network
    if world.columns > 1:
        assert world.column_group is not None
        found = SplitNetwork(network.architecture, world.column, world.column_group)
        state = {name: value.detach() for name, value in network.named_parameters()}
        found.load_state_dict(split_state(state, world.columns)[world.column])
    if not torch.cuda.is_available() or (device is not None and device.type == "cpu"):
        return found
    # Channels last is the layout of the tensor cores, and the one the views come in.
    found.to(torch.device("cuda", torch.cuda.current_device()))
    channels_last(found)
    return found


def resume(
    run: Run,
    data: AnyData | None,
    reporting: Reporting,
    world: World | None = None,
    device: torch.device | None = None,
) -> Trainer:
    """Return a trainer that goes on where `run` stopped, with the data it was begun with unless other is given.

    A run may go on split or merged, on any number of ranks, however it was saved, on a `device` as in `begin`.
    """
    world = world or World()
    recipe, labels = run.recipe(), run.labels()
    state = load_state(run)
    data = data or Path(str(read_json(run.path / DATA)["data"]))
    folder = path_of(data)
    if data_classes(folder) != labels:
        raise InputError(f"{folder} has other classes than the run {run.path}; give its data with --data")
    network = Network(layer_table(recipe.network))
    opened = open_data(data, recipe.data, reporting.loading)
    statistics = Statistics.load(run.statistics_path)
    trainer = _trainer(
        run,
        recipe,
        place(network, world, device),
        opened.parts["train"],
        opened.parts["val"],
        statistics,
        state,
        reporting,
        world,
    )
    trainer.restore()
    return trainer


def _trainer(
    run: Run,
    recipe: Recipe,
    network: AnyNetwork,
    train: Part,
    val: Part,
    statistics: Statistics,
    state: TrainingState,
    reporting: Reporting,
    world: World,
) -> Trainer:
    """Return the trainer with the reporting's callbacks."""
    return Trainer(
        run,
        recipe,
        network,
        train,
        val,
        statistics,
        state,
        reporting.stop,
        reporting.on_batch,
        reporting.on_epoch,
        reporting.warn,
        world,
    )
