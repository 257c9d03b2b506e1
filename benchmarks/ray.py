"""`alexnet infer --ray` with 1 and 2 workers of a core each, beside plain `alexnet infer` of as many threads, one run.

    .venv/bin/python benchmarks/ray.py model.onnx images/
    .venv/bin/python benchmarks/ray.py model.onnx images/ --pictures 6000

Each way classifies a third of the pictures and all of them, as a command of its own on a cluster of its own. Two times
make two figures: what a picture takes, and what the start takes (Python, the model, and with Ray the cluster).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from alexnet.picture_files import find_pictures

WAYS = {
    "plain, 1 thread": ("--threads", "1"),
    "ray, 1 worker": ("--ray", "local", "--workers", "1", "--cores-per-worker", "1"),
    "plain, 2 threads": ("--threads", "2"),
    "ray, 2 workers": ("--ray", "local", "--workers", "2", "--cores-per-worker", "1"),
}


def seconds(model: Path, listed: bytes, out: Path, options: tuple[str, ...]) -> float:
    """Return the seconds of one command over the pictures in a list."""
    call = [sys.executable, "-m", "alexnet", "infer", "--engine", str(model), "--jsonl", "-o", str(out), "--quiet"]
    began = time.perf_counter()
    subprocess.run([*call, *options, "-"], input=listed, check=True, stderr=subprocess.PIPE)
    return time.perf_counter() - began


def main() -> None:
    """Time every way at two sizes and print rate, start and the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--pictures", type=int, default=3000)
    arguments = parser.parse_args()
    paths = [bytes(path) for path in islice(find_pictures([arguments.images]), arguments.pictures)]
    third = len(paths) // 3
    print(f"{'':18} {'pictures/s':>10} {'start, s':>9} {f'{len(paths):,} pictures, s':>20}")
    with tempfile.TemporaryDirectory() as name:
        for way, options in WAYS.items():
            few, whole = (
                seconds(arguments.model, b"\0".join(part) + b"\0", Path(name) / f"{way}-{len(part)}", options)
                for part in (paths[:third], paths)
            )
            rate = (len(paths) - third) / (whole - few)
            print(f"{way:18} {rate:10.1f} {whole - len(paths) / rate:9.1f} {whole:20.1f}", flush=True)


if __name__ == "__main__":
    main()
