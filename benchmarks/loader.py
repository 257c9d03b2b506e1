"""Pictures a second of the training loader from RAW shards, beside ImageFolder and Pillow doing the same work, one run.

    .venv/bin/python benchmarks/loader.py                       on embedded pictures of 256 pixels
    .venv/bin/python benchmarks/loader.py --data prepared/ --folder pictures/

Both make the paper's training view of each picture (section 4.1): random 224 crop, mirror, colour noise, mean. The
peer reads each JPEG from its folder, decodes, resizes and crops it with Pillow, and does the arithmetic with numpy. One
thread each, in turns, so that the figures are pictures a second and core.

What a GPU is fed with are crops as bytes: their rate is that of all cores, from RAW and from JPEG shards.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from alexnet.architecture import layer_table
from alexnet.progress import counted
from alexnet.recipe import Recipe, SgdRecipe
from alexnet.train.augment import draws
from alexnet.train.batches import Batches, batches_for
from alexnet.train.data.generator import make_pictures
from alexnet.train.data.prepare import prepare
from alexnet.train.data.shards import Prepared, open_prepared
from alexnet.train.device import keep_memory
from alexnet.train.network import Network, start_weights
from alexnet.train.sgd import PaperSgd

CROP, BATCH = 224, 128


def prepare_as(form: str, folder: Path, out: Path) -> None:
    """Prepare a folder of pictures at 256 pixels in shards of a form."""
    with counted(f"preparing {form}") as count:
        prepare(str(folder), out, side=256, form=form, quality=95, workers=2, strict=False, progress=count)


def batches_of(prepared: Prepared, device: str) -> Batches:
    """Return the training batches of a prepared data set for a kind of device."""
    recipe = Recipe(sgd=SgdRecipe(batch=BATCH))
    return batches_for(torch.device(device), prepared.parts["train"], prepared.statistics, recipe)


def epoch_of(batches: Batches, epoch: int) -> int:
    """Make the batches of a whole epoch, let each go, and return the number of pictures."""
    return sum(batch.pictures for batch in batches.epoch(epoch, 0))


def from_folder(files: list[Path], prepared: Prepared, batch: int) -> int:
    """Make one batch of the same views from JPEG files with Pillow and return the number of pictures."""
    random, side, statistics = draws(1, batch), prepared.preprocessing.side, prepared.statistics
    out = np.empty((BATCH, CROP, CROP, 3), dtype=np.float32)
    for place, number in enumerate(random.integers(0, len(files), BATCH)):
        image = Image.open(files[number]).convert("RGB")
        scale = side / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        y, x = random.integers(0, side - CROP + 1, 2)
        crop = image.crop((left + x, top + y, left + x + CROP, top + y + CROP))
        values: npt.NDArray[np.float32] = (
            np.asarray(crop, dtype=np.float32) - statistics.mean[y : y + CROP, x : x + CROP]
        )
        if random.random() < 0.5:
            values = values[:, ::-1]
        shift = statistics.eigenvectors @ (0.1 * random.standard_normal(3) * np.sqrt(statistics.eigenvalues))
        out[place] = values + shift
    return len(out)


def bytes_rate(prepared: Prepared) -> float:
    """Return the pictures a second that all cores cut for a GPU from shards, over whole epochs of two seconds."""
    batches = batches_of(prepared, "cuda")
    epoch_of(batches, 0)
    pictures, epoch, began = 0, 1, time.perf_counter()
    while time.perf_counter() < began + 2:
        pictures, epoch = pictures + epoch_of(batches, epoch), epoch + 1
    return pictures / (time.perf_counter() - began)


def wait_share(prepared: Prepared, batch: int = 32) -> float:
    """Return the share of the full network's training step on a CPU that waits for its batch, over an epoch's first."""
    recipe = Recipe(sgd=SgdRecipe(batch=batch))
    network = Network(layer_table(recipe.network))
    start_weights(network, recipe)
    sgd = PaperSgd(network.parameters(), learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    waited, began = 0.0, time.perf_counter()
    for ready in islice(Batches(prepared.parts["train"], prepared.statistics, recipe).epoch(0, 0), 6):
        sgd.zero_grad()
        logits = network(ready.crops.permute(0, 3, 1, 2))
        torch.nn.functional.cross_entropy(logits, ready.labels).backward()
        sgd.step()
        if ready.number:
            waited += ready.waited
        else:
            # The first batch cannot have been prepared during a step before it.
            waited, began = 0.0, time.perf_counter()
    return waited / (time.perf_counter() - began)


def main() -> None:
    """Prepare, run both in turns, print both rates and the ratio, and the share of a step that waits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="prepared data of 224 pixels or more (default: made here)")
    parser.add_argument("--folder", type=Path, help="its pictures, as train/CLASS/*.jpg")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data, folder = arguments.data, arguments.folder
        if data is None or folder is None:
            folder, data = Path(name) / "pictures", Path(name) / "prepared"
            make_pictures(folder, seed=0, size=320, train=600, val=10, workers=2)
            prepare_as("raw", folder, data)
        # As training sets it for its process; the peer has it too.
        keep_memory()
        prepared = open_prepared(data)
        batches = batches_of(prepared, "cpu")
        files = sorted(path for path in (folder / "train").rglob("*") if path.is_file())
        epoch_of(batches, 0), from_folder(files, prepared, 0)
        rates: dict[str, list[float]] = {"RAW shards": [], "folder and Pillow": []}
        for number in range(1, arguments.rounds + 1):
            began = time.process_time()
            rates["RAW shards"].append(epoch_of(batches, number))
            middle = time.process_time()
            rates["folder and Pillow"].append(from_folder(files, prepared, number))
            ended = time.process_time()
            rates["RAW shards"][-1] /= middle - began
            rates["folder and Pillow"][-1] /= ended - middle
        for kind, values in rates.items():
            print(f"{kind:18} {np.median(values):7.0f} pictures/s/core (min {min(values):.0f}, max {max(values):.0f})")
        ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
        print(f"ratio, median of {arguments.rounds} rounds: {np.median(ratios):.1f} (goal 10)")
        prepare_as("jpeg", folder, Path(name) / "jpeg")
        for form, shards in (("RAW", prepared), ("JPEG", open_prepared(Path(name) / "jpeg"))):
            rate = bytes_rate(shards)
            print(f"bytes for a GPU, {form:4} shards  {rate:7.0f} pictures/s on {os.cpu_count()} cores")
        print(f"share of a training step of the full net, batch 32, that waits for data: {wait_share(prepared):.1%}")


if __name__ == "__main__":
    main()
