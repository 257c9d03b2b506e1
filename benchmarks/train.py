"""Training speed of the paper's network beside a plain eager float32 loop with torchvision's settings, one run.

    .venv/bin/python benchmarks/train.py                on a CPU: a reduced table
    python benchmarks/train.py --batches 128,512,2048   on a GPU

Ours is the training step of `alexnet train` with augmentation and its loader: views from uint8 pictures, the paper's
network of 60,965,224 parameters in two columns with response normalisation, the paper's update; in float32, on a GPU
as TF32, and in bfloat16 under autocast, without and with torch.compile. The peer is torchvision's network
(64-192-384-256-256 kernels, no normalisation, no columns: 61,100,840 parameters, 714 million multiply-adds a crop, much
as ours with 724 million) under torch.optim.SGD on batches that are there already, with torch's own defaults, which
take TF32 for convolutions. Rounds are interleaved; medians are printed, the share of the rate of a large matrix product
of the same precision, and the share of the time that waited for the loader.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from alexnet.architecture import layer_table
from alexnet.recipe import Precision, Recipe
from alexnet.train.batches import batches_for
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.device import Carrier, arithmetic, reading, tune_process
from alexnet.train.mesh import World
from alexnet.train.network import Network, start_weights
from alexnet.train.session import place
from alexnet.train.sgd import PaperSgd

CROP, SIDE = 224, 256
# Pictures of the epoch that is measured: more than all rounds see, so that the loader never starts anew.
EPOCH = 1_000_000
PEER = "plain loop, torchvision's settings, fp32"


def torchvision_alexnet() -> nn.Module:
    """Return the network with torchvision's settings, written out: there is no torchvision to import everywhere."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, 1000),
    )


def plain_loop(batch: int, device: torch.device) -> Callable[[], None]:
    """Return one step of the peer."""
    network = torchvision_alexnet().to(device)
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    crops = torch.randn(batch, 3, CROP, CROP, device=device)
    labels = torch.randint(1000, (batch,), device=device)

    def step() -> None:
        # torch's defaults, which the turn of another loop has changed.
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
        torch.backends.cudnn.benchmark = False
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(network(crops), labels).backward()
        sgd.step()

    return step


@dataclass(frozen=True)
class Repeated:
    """A million pictures, eight batches of them different: as an epoch of ImageNet is read, in less memory."""

    pictures: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        """Return their number."""
        return EPOCH

    def __getitem__(self, chosen: Any) -> npt.NDArray[np.uint8]:
        """Return the chosen pictures."""
        found: npt.NDArray[np.uint8] = self.pictures[chosen % len(self.pictures)]
        return found


class OurLoop:
    """The training step of `alexnet train`, from uint8 pictures to new weights; `waited` counts seconds for data."""

    def __init__(
        self, batch: int, pictures: Repeated, device: torch.device, precision: Precision, compiled: bool
    ) -> None:
        """Make the network, the loader over pictures in memory, and the update rule."""
        recipe = Recipe()
        recipe = replace(
            recipe,
            sgd=replace(recipe.sgd, batch=batch),
            compute=replace(recipe.compute, precision=precision, compile=compiled),
        )
        self.recipe, self.device, self.waited = recipe, device, 0.0
        network = Network(layer_table(recipe.network))
        start_weights(network, recipe)
        placed = place(network, World(), device)
        self.forward = torch.compile(placed, dynamic=False) if compiled else placed
        self.sgd = PaperSgd(placed.parameters(), learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
        labels = np.random.default_rng(0).integers(0, 1000, EPOCH)
        three = np.eye(3, dtype=np.float32)
        statistics = Statistics(np.full((SIDE, SIDE, 3), 120, dtype=np.float32), three, three[0] * 1000, three)
        batches = batches_for(device, Part(pictures, labels, []), statistics, recipe)
        mean = torch.from_numpy(statistics.mean).to(device)
        self.carried = Carrier(device, mean, 1.0, batches.on_device).carry(batches.epoch(0, 0))

    def __call__(self) -> None:
        """Train on the next batch."""
        tune_process(self.device, self.recipe.compute.precision)
        ready = next(self.carried)
        self.waited += ready.batch.waited
        with arithmetic(self.device, self.recipe.compute.precision):
            logits = self.forward(ready.crops)
        loss = torch.nn.functional.cross_entropy(logits.float(), ready.labels)
        read_loss = reading(loss.detach())
        self.sgd.zero_grad()
        loss.backward()
        read_loss()
        self.sgd.step()


def timed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the seconds of a step, over `steps` of them."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def peak(device: torch.device, precision: Precision) -> float:
    """Return the multiply-adds a second of a large square matrix product, the best of several."""
    tune_process(device, precision)
    side, kind = 8192 if device.type == "cuda" else 2048, torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    return side**3 / min(timed(lambda: torch.mm(left, right), 3, device) for _ in range(4))


def measure(batch: int, device: torch.device, rounds: int, steps: int) -> None:
    """Measure one batch size in interleaved rounds and print its lines."""
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32", "bf16")
    noise = np.random.default_rng(0).integers(0, 256, (8 * batch, SIDE, SIDE, 3), dtype=np.uint8)
    pictures = Repeated(noise)
    ours = {f"ours, {precision}": OurLoop(batch, pictures, device, precision, False) for precision in precisions}
    ours["ours, compiled, bf16"] = OurLoop(batch, pictures, device, "bf16", True)
    loops: dict[str, Callable[[], None]] = {PEER: plain_loop(batch, device), **ours}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for step in loops.values():
        timed(step, 2, device)
    for loop in ours.values():
        loop.waited = 0.0
    for _ in range(rounds):
        for name, step in loops.items():
            seconds[name].append(timed(step, steps, device))
    macs = sum(row.macs for row in layer_table(Recipe().network).rows())
    for name, times in seconds.items():
        rate = batch / float(np.median(times))
        ratio = float(np.median([theirs / mine for theirs, mine in zip(seconds[PEER], times, strict=True)]))
        line = f"batch {batch:5}  {name:42} {rate:9.1f} images/s  {ratio:5.2f} x the plain loop"
        if name in ours:
            # A training step computes three times the products of a forward pass.
            share = 3 * macs * rate / peak(device, ours[name].recipe.compute.precision)
            waited = ours[name].waited / (steps * sum(times))
            line += f"  {share:5.1%} of a matrix product  {waited:5.1%} waits for data"
        print(line, flush=True)


def main() -> None:
    """Measure every batch size and print the table."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="128,512,2048" if cuda else "32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20 if cuda else 2)
    arguments = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__} on {where}")
    for batch in (int(number) for number in arguments.batches.split(",")):
        measure(batch, device, arguments.rounds, arguments.steps)


if __name__ == "__main__":
    main()
