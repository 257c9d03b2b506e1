"""From files to answers, startup and memory: the parts of benchmarks/runtime.py that run `alexnet infer` itself."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.benchmark.machine import cores
from alexnet.runtime.benchmark.subjects import opened
from alexnet.runtime.benchmark.timing import Limit, Spread, Subject, take_turns
from alexnet.runtime.benchmark.whole import end_to_end

_INFER = "import sys; from alexnet.cli import main; sys.argv[0] = 'alexnet'; main()"
# The process says how much it held when it ends.
_MEASURED = """
import atexit, sys
from alexnet.cli import main
from alexnet.runtime.benchmark.memory import peak_bytes
atexit.register(lambda: print("peak", peak_bytes(), file=sys.stderr))
sys.argv[0] = "alexnet"
main()
"""


def whole(shared: Path, best: Path, jpegs: list[Path], batch: int, rounds: int, goal: float) -> list[str]:
    """Return the rows of files to answers beside decoding alone and inference alone."""
    lines = []
    for path, name in ((shared, "openvino-cpu"), (best, "onnxruntime-cpu")):
        one = opened(path, name, BackendOptions(), jpegs[:batch])
        limit = Limit(rounds=max(1, rounds // 2))
        found = end_to_end(one, batch, jpegs, cores(), limit) if one.backend else str(one.error)
        if isinstance(found, str):
            lines.append(f"| files to answers, {path.stem} in {name} | failed: {found} | |")
            continue
        lines.append(
            f"| files to answers, {path.stem} in {name} | {found.whole.median:.2f} pictures/s; decoding alone "
            f"{found.decoding.median:.0f}, inference alone {found.inference.median:.2f}; {found.ratio} of the slower | "
            f"{goal:.2f} |"
        )
    return lines


def startup(model: Path, jpeg: Path, rounds: int, goal: float) -> list[str]:
    """Return the row of `alexnet infer` on one picture, less the time of reading the model's file."""
    arguments = [sys.executable, "-c", _INFER, "infer", "--engine", str(model), str(jpeg), "--quiet"]

    def start(*more: str) -> None:
        subprocess.run([*arguments, *more], check=True, capture_output=True)

    openvino = ("--backend", "openvino-cpu")
    with tempfile.TemporaryDirectory() as cache:
        subjects = [
            Subject("reading", lambda: model.read_bytes()),
            Subject("alexnet infer", start),
            Subject("alexnet infer --backend openvino-cpu", lambda: start(*openvino)),
            Subject("alexnet infer --backend openvino-cpu --cache DIR", lambda: start(*openvino, "--cache", cache)),
        ]
        subjects[-1].run()
        take_turns(subjects, Limit(rounds=rounds))
    reading = subjects[0]
    lines = []
    for subject in subjects[1:]:
        beyond = Spread.of([run - read for run, read in zip(subject.seconds, reading.seconds, strict=True)])
        lines.append(
            f"| `{subject.name}` on one picture, beyond reading {model.stat().st_size / 1e6:.0f} MB in "
            f"{reading.latency.median:.2f} s | {beyond} s | under {goal:.1f} s |"
        )
    return lines


def memory(model: Path, jpegs: list[Path], batch: int, number: int) -> list[str]:
    """Return the rows of peak memory: three batches, which fill the pipeline, and many pictures, by each backend."""
    lines = []
    for backend in ("onnxruntime-cpu", "openvino-cpu"):
        few = peak(model, backend, jpegs[: 3 * batch], batch)
        many = peak(model, backend, [jpegs[place % len(jpegs)] for place in range(number)], batch)
        pictures = 3 * batch * 256 * 256 * 3
        lines.append(
            f"| peak memory, {backend} | {few / 1e6:.0f} MB for {3 * batch} pictures, {many / 1e6:.0f} MB "
            f"for {number}: {(many - few) / 1e6:+.1f} MB | model + 3 batches, of {pictures / 3e6:.1f} MB each |"
        )
    return lines


def peak(model: Path, backend: str, paths: list[Path], batch: int) -> int:
    """Return the peak memory of `alexnet infer` over files, in bytes."""
    arguments = ["infer", "--engine", str(model), "--backend", backend, "--batch", str(batch), "--quiet"]
    command = [sys.executable, "-c", _MEASURED, *arguments, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(next(line.split()[1] for line in done.stderr.splitlines() if line.startswith("peak ")))
