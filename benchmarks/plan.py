"""The cost model of `alexnet plan` against real steps of 1, 2 and 4 processes on this machine, in one run.

    .venv/bin/python benchmarks/plan.py                     the paper's network, batches of 16
    .venv/bin/python benchmarks/plan.py --ranks 1,2 --set network.width=0.5

What goes into the prediction is measured without any mesh: the step of one process with one thread at two batch sizes;
how much slower as many independent processes are beside one another, which share cores, caches and memory; and on two
ranks that only send, the bandwidth of loopback through gloo. Every mesh is started by torchrun, one thread a rank. All
of this is measured in rounds, one thing after another in each, so that whatever else the machine does falls on all
alike; the medians over the rounds are predicted from and held against. On a CPU only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist

from alexnet.architecture import Architecture, layer_table
from alexnet.recipe import Recipe
from alexnet.recipe_file import load_recipe
from alexnet.train.measure import fit_line, step_seconds
from alexnet.train.mesh import World, join_world, leave_world
from alexnet.train.plan import Mesh, Network, meshes_of, predict
from alexnet.train.traffic import gradient_bytes


def sized(recipe: Recipe, batch: int) -> Recipe:
    """Return the recipe with batches of `batch`."""
    return replace(recipe, sgd=replace(recipe.sgd, batch=batch))


def one_rank(work: str, recipe: Recipe, split: bool, steps: int) -> object:
    """Do one process's work, alone or as a rank of torchrun: a step's median seconds, or the network of two ranks."""
    torch.set_num_threads(1)
    world = join_world(recipe.network.columns, split)
    try:
        if work == "network":
            return asdict(loopback(world, layer_table(recipe.network)))
        return step_seconds(recipe, world, steps)
    finally:
        leave_world()


def loopback(world: World, architecture: Architecture) -> Network:
    """Return the network of two ranks: the all-reduce of all gradients as training sends them, and of one number."""
    weights = [torch.zeros(gradient_bytes(architecture, 1) // 4)]
    weights[0].grad = torch.zeros_like(weights[0])
    small = median(lambda: dist.all_reduce(torch.zeros(1)), 50)
    large = median(lambda: world.sum_gradients(weights), 5)
    # On a ring of two each rank passes its half once to add up and once to spread: two messages, the whole size.
    return Network(gradient_bytes(architecture, 1) / (large - small), small / 2)


def median(work: Callable[[], object], times: int) -> float:
    """Return the median seconds of `work`, the first one left out."""
    seconds = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


class Measuring:
    """Starts processes of this script and reads what their first rank found."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.arguments, self.folder, self.started = arguments, folder, 0

    def start(self, work: str, batch: int, ranks: int = 1, split: bool = False) -> tuple[subprocess.Popen[bytes], Path]:
        """Start one process, or `ranks` under torchrun; return it and the file of its result."""
        self.started += 1
        out = self.folder / f"{self.started}.json"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        command = [sys.executable, *launcher, __file__, "--work", work, "--batch", str(batch), "--out", str(out)]
        command += ["--recipe", self.arguments.recipe, "--steps", str(self.arguments.steps)]
        command += [text for setting in self.arguments.set for text in ("--set", setting)] + ["--split"] * split
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}), out

    def find(self, started: tuple[subprocess.Popen[bytes], Path]) -> object:
        """Wait for a process and return its result."""
        process, out = started
        if process.wait(timeout=500):
            raise SystemExit(f"a process of the benchmark ended with {process.returncode}")
        return json.loads(out.read_text())

    def alone(self, batch: int, beside: int = 1) -> float:
        """Return the median seconds of a step of `beside` independent processes at once, their mean."""
        processes = [self.start("step", batch) for _ in range(beside)]
        return statistics.mean(float(str(self.find(process))) for process in processes)


@dataclass(frozen=True)
class Round:
    """What was measured once.

    Seconds of one process's step of the batch (`whole`) and of a quarter of it (`part`), of a step of so many
    independent processes `beside` one another, and of each mesh; the network of two ranks.
    """

    whole: float
    part: float
    network: Network
    beside: dict[int, float]
    meshes: dict[Mesh, float]


def measure_round(recipe: Recipe, ranks: list[int], measuring: Measuring) -> Round:
    """Measure everything once."""
    batch = recipe.sgd.batch
    whole, part = measuring.alone(batch), measuring.alone(small(batch))
    values = measuring.find(measuring.start("network", batch, 2))
    assert isinstance(values, dict)
    beside = {number: measuring.alone(batch, number) for number in ranks if number > 1}
    found = {
        mesh: float(str(measuring.find(measuring.start("step", batch, mesh.ranks, mesh.columns > 1))))
        for mesh in meshes_of(ranks, layer_table(recipe.network).columns)
    }
    return Round(whole, part, Network(**values), beside, found)


def small(batch: int) -> int:
    """Return the number of pictures of the smaller step."""
    return max(1, batch // 4)


def middle(rounds: list[Round]) -> Round:
    """Return the medians over the rounds."""
    of = statistics.median
    return Round(
        of(each.whole for each in rounds),
        of(each.part for each in rounds),
        Network(of(each.network.bandwidth for each in rounds), of(each.network.latency for each in rounds)),
        {number: of(each.beside[number] for each in rounds) for number in rounds[0].beside},
        {mesh: of(each.meshes[mesh] for each in rounds) for mesh in rounds[0].meshes},
    )


def report(recipe: Recipe, rounds: list[Round]) -> str:
    """Return the calibration, then predicted and measured rates mesh by mesh."""
    batch, architecture, found = recipe.sgd.batch, layer_table(recipe.network), middle(rounds)
    compute, network = fit_line(small(batch), found.part, batch, found.whole), found.network
    steps, widths = [each.whole for each in rounds], [each.network.bandwidth / 1e9 for each in rounds]
    lines = [
        f"{recipe.name}: {architecture.parameters:,} parameters, batches of {batch}, {recipe.compute.precision}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, medians of {len(rounds)} rounds",
        f"one process, one thread: {compute.seconds_per_step:.3f} s a step and {compute.seconds_per_picture:.4f} s a "
        f"picture; a step of {batch} took {spread(steps, '.3f')} s",
        f"loopback, two ranks: {network.bandwidth / 1e9:.2f} GB/s ({spread(widths, '.2f')}), "
        f"{network.latency * 1e6:.0f} us a message",
        "data x column  slower  predicted images/s  measured  (least-most)     error  crossing ms  all-reduce ms",
    ]
    for mesh, seconds in found.meshes.items():
        # Others beside it cannot make a process faster: below 1 is noise.
        slower = max(1.0, found.beside.get(mesh.ranks, found.whole) / found.whole)
        expected = predict(architecture, batch, mesh, compute, network, slower, recipe.compute.precision)
        rate, rates = batch / seconds, f"({spread([batch / each.meshes[mesh] for each in rounds], '.2f')})"
        lines.append(
            f"{mesh.data:4} x {mesh.columns:<6}  {slower:6.2f}  {expected.rate:18.2f}  {rate:8.2f}  "
            f"{rates:15}  {expected.rate / rate - 1:+5.0%}  {expected.crossing * 1e3:11.1f}  "
            f"{expected.reduction * 1e3:13.1f}"
        )
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """Return the least and the most of some values."""
    return f"{min(values):{form}}-{max(values):{form}}"


def main() -> None:
    """Measure what the model needs and every mesh in rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="imagenet")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--work", choices=("step", "network"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--split", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    recipe = sized(load_recipe(arguments.recipe, arguments.set), arguments.batch)
    if arguments.work:
        found = one_rank(arguments.work, recipe, arguments.split, arguments.steps)
        if int(os.environ.get("RANK", "0")) == 0:
            arguments.out.write_text(json.dumps(found))
        return
    ranks = [int(number) for number in arguments.ranks.split(",")]
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        measuring = Measuring(arguments, Path(folder))
        for number in range(arguments.rounds):
            rounds.append(measure_round(recipe, ranks, measuring))
            print(f"round {number + 1} of {arguments.rounds}: {rounds[-1]}", file=sys.stderr, flush=True)
    print(report(recipe, rounds))


if __name__ == "__main__":
    main()
