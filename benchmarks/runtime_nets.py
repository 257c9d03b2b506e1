"""The nets and pictures of benchmarks/runtime.py: random weights, torch.onnx's export, benchmark_app, JPEGs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from alexnet.architecture import layer_table
from alexnet.crops import CROPS, ten_crops
from alexnet.export.source import Source
from alexnet.recipe import Recipe
from alexnet.train.network import Network

Array = npt.NDArray[Any]
# Seconds that benchmark_app measures in each round.
APP_SECONDS = 3
_APP = "from openvino.tools.benchmark.main import main; main()"


def macs() -> float:
    """Return the multiply-adds of one crop in the paper's net."""
    return float(sum(row.macs for row in layer_table(Recipe().network).rows()))


def full_size_source(recipe: Recipe) -> Source:
    """Return the paper's network with random weights of a size that keeps its outputs' variance."""
    network = Network(layer_table(recipe.network)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            spread = 0.1 if name.endswith("bias") else (2.0 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
        # Logits of a few units, as a trained network has.
        network.get_submodule("fc8").get_parameter("weight").mul_(0.3)
    side = recipe.data.picture
    mean = np.random.default_rng(0).uniform(90, 160, (side, side, 3)).astype(np.float32)
    labels = tuple(f"class {number}" for number in range(recipe.network.classes))
    return Source(network, recipe, labels, mean, "0" * 64)


def naive_export(network: Network, path: Path) -> None:
    """Write what torch.onnx makes of the network on crops float32 [M, 3, 224, 224], M dynamic."""
    crop = network.architecture.crop
    crops = torch.zeros(20, 3, crop, crop)
    shapes = {"x": {0: torch.export.Dim("M", min=2, max=4096)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (crops,), str(path), dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False
        )


def naive_host(run: Callable[[Array], Array], mean: Array) -> Callable[[Array], Array]:
    """Return ten-crop classification around a network that answers logits [M, classes] of float crops."""

    def classify(pictures: Array) -> Array:
        crops = ten_crops(pictures.astype(np.float32) - mean, 224).reshape(-1, 224, 224, 3)
        logits = run(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        return np.asarray(probabilities.reshape(CROPS, len(pictures), -1).mean(axis=0))

    return classify


def benchmark_app(model: Path, name: str, batch: int, precision: str, hint: str) -> Callable[[], float]:
    """Return what runs OpenVINO's benchmark_app on ten crops each of `batch` pictures and returns seconds a batch."""
    shape = f"{name}[{CROPS * batch},3,224,224]"

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = ["-m", str(model), "-d", "CPU", "-shape", shape, "-infer_precision", precision, "-hint", hint]
            arguments += [
                "-t",
                str(APP_SECONDS),
                "-json_stats",
                "-report_type",
                "no_counters",
                "-report_folder",
                folder,
            ]
            done = subprocess.run([sys.executable, "-c", _APP, *arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"benchmark_app: {' '.join(done.stdout.split()[-40:])}")
            report = json.loads(next(Path(folder).glob("*.json")).read_text(encoding="utf-8"))
        return batch / (float(report["execution_results"]["throughput"]) / CROPS)

    return run


def write_jpegs(folder: Path, number: int) -> list[Path]:
    """Write pictures of 500 x 375 pixels, ImageNet's average, as JPEG: smooth colours with some grain."""
    folder.mkdir()
    random = np.random.default_rng(3)
    paths = []
    for place in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float64)
        pixels = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{place:04}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths
