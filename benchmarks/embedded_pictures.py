"""Are the embedded pictures worth learning? A linear model on pixels beside the quickstart recipe, one run.

    .venv/bin/python benchmarks/embedded_pictures.py

Both see the same training pictures and are judged on the same held-out ones. The linear model is a softmax
regression on the whole picture at 32 x 32 and at 64 x 64 pixels, with mirrors; its lowest validation error over
all epochs and weight decays counts, which favours it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexnet.pictures import Preprocessing
from alexnet.recipe_file import load_recipe
from alexnet.run import Run
from alexnet.train.data.folder import Part, load_part
from alexnet.train.data.generator import make_pictures
from alexnet.train.report import EpochReport
from alexnet.train.session import Reporting, begin


def pixels(part: Part, side: int) -> torch.Tensor:
    """Return pictures brought to `side` pixels as float rows of values 0..1, [N, side * side * 3]."""
    small = [np.asarray(Image.fromarray(picture).resize((side, side))) for picture in part.pictures[:]]
    return torch.from_numpy(np.stack(small).astype(np.float32) / 255).flatten(1)


def linear_error(train: Part, val: Part, side: int, decay: float, epochs: int = 60) -> float:
    """Return the lowest validation top-1 error of a softmax regression over its epochs."""
    torch.manual_seed(0)
    x, held_out = pixels(train, side), pixels(val, side)
    mirrored = x.reshape(-1, side, side, 3).flip(2).flatten(1)
    mean, spread = x.mean(0), x.std(0) + 1e-3
    x, mirrored, held_out = ((part - mean) / spread for part in (x, mirrored, held_out))
    labels, truth = torch.from_numpy(train.labels), torch.from_numpy(val.labels)
    model = torch.nn.Linear(x.shape[1], int(labels.max()) + 1)
    adam = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=decay)
    lowest = 1.0
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(x)), 128):
            views = torch.where(torch.rand(len(chosen), 1) < 0.5, x[chosen], mirrored[chosen])
            loss = torch.nn.functional.cross_entropy(model(views), labels[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
        with torch.inference_mode():
            lowest = min(lowest, float((model(held_out).argmax(1) != truth).float().mean()))
    return lowest


def quickstart_error(data: Path, folder: Path) -> tuple[float, float]:
    """Return the quickstart recipe's last validation top-1 error and the seconds it trained."""
    errors: list[float] = []

    def told(report: EpochReport) -> None:
        print(report.line(2), flush=True)
        errors.append(report.errors.top1)

    reporting = Reporting(
        say=print,
        loading=lambda part: lambda done, total: None,
        on_batch=lambda batch, batches, loss: None,
        on_epoch=told,
        warn=print,
        stop=lambda: False,
    )
    state = begin(load_recipe("quickstart"), data, Run(folder / "run"), reporting).fit()
    return errors[-1], state.seconds


def main() -> None:
    """Draw the pictures, train both, print both errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--val", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "data"
        began = time.perf_counter()
        cores = os.cpu_count() or 1
        make_pictures(data, seed=0, size=128, train=arguments.train, val=arguments.val, workers=cores)
        seconds = time.perf_counter() - began
        number = arguments.train + arguments.val
        print(f"drew {number} pictures in {seconds:.1f} s, {number / seconds:.0f}/s on {cores} cores")
        train, val = (load_part(data, part, Preprocessing(128)) for part in ("train", "val"))
        linear = {
            (side, decay): linear_error(train, val, side, decay) for side in (32, 64) for decay in (0.0, 0.1, 1.0, 10.0)
        }
        for (side, decay), error in linear.items():
            print(f"linear model, {side} x {side} pixels, weight decay {decay:g}: top-1 error {error:.1%}")
        network, seconds = quickstart_error(data, folder)
        best = min(linear.values())
        print(f"linear model, best of all: top-1 error {best:.1%} (expected above 50 %)")
        print(f"quickstart recipe, {seconds:.0f} s of training: top-1 error {network:.1%} (expected below 15 %)")
        print(f"ratio: {best / max(network, 1e-9):.1f}")


if __name__ == "__main__":
    main()
