"""Training speed of the paper's network beside a plain eager float32 loop with torchvision's settings, one run.

    .venv/bin/python benchmarks/train.py                on a CPU: a reduced table
    python benchmarks/train.py --batches 128,512,2048   on a GPU

Ours is the training step of `alexnet train` with augmentation: views from uint8 pictures, the paper's network of
60,965,224 parameters in two columns with response normalisation, the paper's update; float32, and bfloat16 under
autocast, without and with torch.compile. The peer is torchvision's network (64-192-384-256-256 kernels, no
normalisation, no columns: 61,100,840 parameters, 714 million multiply-adds a crop, much as ours with 724 million)
under torch.optim.SGD on batches that are there already. Rounds are interleaved; medians are printed, and the share of
the rate of a large matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from alexnet.architecture import layer_table
from alexnet.recipe import Recipe
from alexnet.train.batches import Batch, Batches
from alexnet.train.data.folder import Part
from alexnet.train.data.statistics import Statistics
from alexnet.train.device import Carrier, reading
from alexnet.train.network import Network, start_weights
from alexnet.train.sgd import PaperSgd

CROP, SIDE = 224, 256


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
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(network(crops), labels).backward()  # type: ignore[no-untyped-call]
        sgd.step()

    return step


def our_batches(batch: int, cuda: bool) -> tuple[Statistics, Iterator[Batch]]:
    """Return the statistics and endless batches of augmented views of pictures in memory, as the loader makes them."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8)
    labels = random.integers(0, 1000, batch)
    three = np.eye(3, dtype=np.float32)
    statistics = Statistics(np.full((SIDE, SIDE, 3), 120, dtype=np.float32), three, three[0] * 1000, three)
    recipe = replace(Recipe(), sgd=replace(Recipe().sgd, batch=batch))
    names = [str(number) for number in range(batch)]
    batches = Batches(Part(pictures, labels, names), statistics, recipe, on_device=cuda)

    def endless() -> Iterator[Batch]:
        # Whole epochs of one batch would not be drawn ahead: the thread works on the next while one trains.
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(lambda: next(batches.epoch(0, 0)))
            for epoch in range(1, 1_000_000):
                ready = ahead.result()
                ahead = pool.submit(lambda epoch=epoch: next(batches.epoch(epoch, 0)))  # type: ignore[misc]
                yield ready

    return statistics, endless()


def our_loop(batch: int, device: torch.device, bf16: bool, compiled: bool = False) -> Callable[[], None]:
    """Return one step of ours, from uint8 pictures to new weights."""
    recipe = Recipe()
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    network.to(device)
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    sgd = PaperSgd(network.parameters(), learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    cuda = device.type == "cuda"
    statistics, batches = our_batches(batch, cuda)
    carried = Carrier(device, torch.from_numpy(statistics.mean).to(device), 1.0, finish=cuda).carry(batches)
    forward = torch.compile(network) if compiled else network

    def step() -> None:
        ready = next(carried)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits: Tensor = forward(ready.crops)
        loss = torch.nn.functional.cross_entropy(logits.float(), ready.labels)
        read_loss = reading(loss.detach())
        sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        read_loss()
        sgd.step()

    return step


def timed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the seconds of a step, over `steps` of them."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def peak(device: torch.device, kind: torch.dtype) -> float:
    """Return the multiply-adds a second of a large square matrix product, the best of several."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    return side**3 / min(timed(lambda: torch.mm(left, right), 3, device) for _ in range(4))


def main() -> None:
    """Measure every batch size in interleaved rounds and print the table."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="128,512,2048" if cuda else "32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20 if cuda else 2)
    arguments = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__} on {where}")
    macs = sum(row.macs for row in layer_table(Recipe().network).rows())
    peaks = {"fp32": peak(device, torch.float32), "bf16": peak(device, torch.bfloat16)}
    for batch in (int(number) for number in arguments.batches.split(",")):
        loops = {
            "plain loop, torchvision's settings, fp32": plain_loop(batch, device),
            "ours, fp32": our_loop(batch, device, False),
            "ours, bf16": our_loop(batch, device, True),
            "ours, compiled, bf16": our_loop(batch, device, True, compiled=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for step in loops.values():
            timed(step, 1, device)
        for _ in range(arguments.rounds):
            for name, step in loops.items():
                seconds[name].append(timed(step, arguments.steps, device))
        base = seconds["plain loop, torchvision's settings, fp32"]
        for name, times in seconds.items():
            rate = batch / float(np.median(times))
            # A training step computes three times the products of a forward pass.
            share = 3 * macs * rate / peaks["bf16" if name.endswith("bf16") else "fp32"]
            ratio = float(np.median([theirs / ours for theirs, ours in zip(base, times, strict=True)]))
            text = f"{rate:9.1f} images/s  {ratio:5.2f} x the plain loop"
            print(
                f"batch {batch:5}  {name:42} {text}" + (f"  {share:5.1%} of a matrix product" if "ours" in name else "")
            )


if __name__ == "__main__":
    main()
