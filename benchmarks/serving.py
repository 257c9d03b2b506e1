"""Throughput and latency of `alexnet serve` on the loopback address, beside `alexnet benchmark` of the same model.

    .venv/bin/python benchmarks/serving.py model.onnx photo.jpg

wrk sends the requests (Debian: apt install wrk). Throughput takes turns with `alexnet benchmark`, round by round, and
ratios are taken within a round; latencies by the number of connections come after. Tensors are one picture in bytes to
the inference protocol, JPEGs go to /v1/classify, where decoding counts too.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from serving_answers import serving, tensor_request

from alexnet.pictures import picture_of
from alexnet.runtime.backends import open_backend
from alexnet.runtime.benchmark.machine import machine

GOAL = 0.85
CONNECTIONS = (1, 4, 16, 64)
# The connections at which throughput is compared: two batches' worth.
BUSY = 16
BATCH = 8
SCALE = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Found:
    """What wrk found: answers a second, milliseconds at the median and the 99th percentile, and refusals."""

    rate: float
    median: float
    p99: float
    refused: int


@dataclass(frozen=True)
class Kind:
    """A kind of request: its name, its URL and the script that tells wrk its body."""

    name: str
    url: str
    script: Path

    def sent(self, connections: int, seconds: int) -> Found:
        """Send it over a number of connections for some seconds."""
        line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency"]
        done = subprocess.run(
            [*line, "-s", str(self.script), self.url], capture_output=True, text=True, check=True
        ).stdout
        if "Socket errors" in done:
            sys.exit(f"{self.name}: {done}")
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
        rate = re.search(r"Requests/sec: +([\d.]+)", done)
        assert rate is not None
        return Found(float(rate[1]), _percentile(done, 50), _percentile(done, 99), int(refused[1]) if refused else 0)


def _percentile(text: str, percent: int) -> float:
    """Return the milliseconds of a percentile in wrk's report."""
    found = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s|m) *$", text, flags=re.MULTILINE)
    assert found is not None, text
    return float(found[1]) * SCALE[found[2]]


def script(folder: Path, name: str, body: bytes, headers: dict[str, str]) -> Path:
    """Write the script that has wrk send a body."""
    (folder / f"{name}.body").write_bytes(body)
    lines = [
        'wrk.method = "POST"',
        f'local file = io.open("{folder}/{name}.body", "rb")',
        'wrk.body = file:read("*all")',
        "file:close()",
        *(f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()),
    ]
    path = folder / f"{name}.lua"
    path.write_text("\n".join(lines) + "\n")
    return path


def kinds(model: Path, photo: Path, url: str, folder: Path) -> list[Kind]:
    """Return the two kinds of request."""
    backend = open_backend(model)
    data = photo.read_bytes()
    pixels = picture_of(data, str(photo), backend.metadata.preprocessing)
    backend.close()
    return [
        Kind("tensors", f"{url}/v2/models/model/infer", script(folder, "tensors", *tensor_request(pixels[None]))),
        Kind("JPEGs", f"{url}/v1/classify", script(folder, "jpegs", data, {})),
    ]


def model_alone(model: Path, seconds: int) -> float:
    """Return the pictures a second that `alexnet benchmark` measures."""
    line = [sys.executable, "-m", "alexnet", "benchmark", str(model), "--backend", "onnxruntime-cpu"]
    line += ["--batch", str(BATCH), "--seconds", str(seconds), "--json", "--quiet"]
    report = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    return float(report["results"][0]["pictures_per_second"]["median"])


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path, help="a JPEG")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; install it with: apt install wrk")
    here = machine()
    print(f"{here['processor']}, {here['cores']} cores, {' '.join(here['instructions'])}; {arguments.model.name}\n")
    with (
        tempfile.TemporaryDirectory() as name,
        serving("--engine", f"model={arguments.model}", "--batch", str(BATCH), "--queue", "128") as url,
    ):
        both = kinds(arguments.model, arguments.photo, url, Path(name))
        for kind in both:
            kind.sent(BUSY, 1)
        alone: list[float] = []
        rates: dict[str, list[float]] = {kind.name: [] for kind in both}
        for turn in range(arguments.rounds):
            alone.append(model_alone(arguments.model, arguments.seconds))
            for kind in both if turn % 2 else reversed(both):
                rates[kind.name].append(kind.sent(BUSY, arguments.seconds).rate)
            print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr)
        print(f"| {BUSY} connections | pictures/s | of `alexnet benchmark --batch {BATCH}` | goal |")
        print("| --- | --- | --- | --- |")
        print(f"| `alexnet benchmark` | {statistics.median(alone):.1f} | | |")
        for kind_name, found in rates.items():
            shares = [rate / base for rate, base in zip(found, alone, strict=True)]
            spread = f"{statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
            print(f"| {kind_name} | {statistics.median(found):.1f} | {spread} | {GOAL} |")
        print("\n| requests | connections | answers/s | p50, ms | p99, ms | refused |")
        print("| --- | --- | --- | --- | --- | --- |")
        for kind in both:
            for connections in CONNECTIONS:
                sent = kind.sent(connections, arguments.seconds)
                figures = f"{sent.rate:.1f} | {sent.median:.0f} | {sent.p99:.0f} | {sent.refused}"
                print(f"| {kind.name} | {connections} | {figures} |")


if __name__ == "__main__":
    main()
