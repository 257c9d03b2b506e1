"""INT8 against float32 on the paper's network, ten crops a picture, in ONNX Runtime and OpenVINO, run in turns.

    python benchmarks/calibration.py [--batch 4] [--rounds 9]

Weights are random and the pictures smooth colours: speed does not depend on either, and accuracy is not measured here.
Each ratio is of runs that lie close together, with its quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from runtime_nets import full_size_source, write_jpegs

from alexnet.calibration.layers import quantisable, tensors_of
from alexnet.calibration.quantise import QuantiseOptions, quantise
from alexnet.calibration.statistics import collect
from alexnet.calibration.thresholds import threshold
from alexnet.export.expectation import metadata_of
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.pictures import load_picture
from alexnet.recipe import Recipe
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.benchmark.machine import cores, machine
from alexnet.runtime.benchmark.timing import Limit, Subject, ratio, take_turns

# Backend -> how much faster INT8 is meant to be than the same backend's float32.
GOALS = {"onnxruntime-cpu": 1.35, "openvino-cpu": 2.5}
STEMS = ("plain", "shared", "deep")
LARGEST_SHARE = 0.27


def write_models(folder: Path, stem: str, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, Path]:
    """Write the paper's network with one stem in float32 and INT8, and return the files by precision."""
    source, options = full_size_source(Recipe()), ExportOptions(stem=stem)  # type: ignore[arg-type]
    model, metadata = onnx_model([source.numbers()], options), metadata_of([source], options)
    nodes = quantisable(model)
    histograms = collect(
        model,
        metadata,
        tensors_of(nodes),
        range(len(pictures)),
        lambda at: pictures[list(at)],
        lambda done, total: None,
    )
    thresholds = {name: threshold(found, "percentile", "int8") for name, found in histograms.items()}
    small = quantise(model, nodes, thresholds, QuantiseOptions("int8"))
    files = {}
    for precision, proto in (("fp32", model), ("int8", small)):
        helper.set_model_props(proto, replace(metadata, precision=precision).to_properties())
        files[precision] = folder / f"{stem}-{precision}.onnx"
        onnx.save(proto, files[precision])
    return files


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="pictures in a batch")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jpegs = write_jpegs(folder / "jpegs", max(4, given.batch))
        preprocessing = metadata_of([full_size_source(Recipe())], ExportOptions()).preprocessing
        pictures = np.stack([load_picture(path, preprocessing) for path in jpegs])
        models = {stem: write_models(folder, stem, pictures[:4]) for stem in STEMS}
        subjects: dict[tuple[str, str, str], Subject] = {}
        for backend in GOALS:
            for stem, files in models.items():
                for precision, path in files.items():
                    opened = open_backend(path, BackendOptions(name=backend))
                    run = partial(opened.probabilities, pictures[: given.batch])
                    subjects[backend, stem, precision] = Subject(f"{backend} {stem} {precision}", run, given.batch)
        take_turns(list(subjects.values()), Limit(rounds=given.rounds))
        sizes = {stem: files["int8"].stat().st_size / files["fp32"].stat().st_size for stem, files in models.items()}
    print(f"{machine()['processor']}, {cores()} cores; batch {given.batch}, ten crops a picture")
    print("| backend | stem | float32 | INT8 | INT8 against float32 | goal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for backend, goal in GOALS.items():
        for stem in STEMS:
            before, after = subjects[backend, stem, "fp32"], subjects[backend, stem, "int8"]
            rates = f"{before.rate:.2f} pictures/s | {after.rate:.2f} pictures/s"
            print(f"| {backend} | {stem} | {rates} | {ratio(before, after)} | {goal:.2f} |")
    for stem, share in sizes.items():
        print(f"size, {stem}: {share:.1%} of float32, goal at most {LARGEST_SHARE:.0%}")


if __name__ == "__main__":
    main()
