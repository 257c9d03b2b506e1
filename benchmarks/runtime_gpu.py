"""The GPU's part of benchmarks/runtime.py: ten-crop pictures a second with the pictures on the device. NOT RUN YET.

    .venv/bin/python benchmarks/runtime.py --gpu

Ours in float16 and bfloat16, shared stem, in ONNX Runtime's CUDA provider and, where tensorrt is installed, as an
engine; beside it trtexec on torch.onnx's own export where it is on the PATH, or else ONNX Runtime CUDA on that export
and torch.compile of the network, crops made on the device. The roofline is the larger of the time of the multiply-adds
at the rate of a large matrix product and that of the weights at the rate of a large copy, both of the same rounds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from runtime_nets import full_size_source, macs, naive_export

from alexnet.crops import CROPS, five_offsets
from alexnet.export.build_options import BuildOptions
from alexnet.export.engine import engine_from_onnx
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.recipe import Recipe
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.benchmark.timing import Limit, Subject, ratio, reason, take_turns
from alexnet.sidecar import Profile

GOAL, RATIO_GOAL = 20_000, 1.2
# Pictures in a batch, and batches of one turn, whose end is waited for.
BATCH, REPEATS = 128, 10
Run = Callable[[], object]


def bound(path: Path, shape: tuple[int, ...], kind: type) -> Run:
    """Return what runs an ONNX model in the CUDA provider on an input that lies on the device."""
    onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(str(path), providers=[("CUDAExecutionProvider", {"use_tf32": "0"})])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError(f"ONNX Runtime gives {session.get_providers()}")
    values: npt.NDArray[Any] = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        session.get_inputs()[0].name, onnxruntime.OrtValue.ortvalue_from_numpy(values, "cuda", 0)
    )
    binding.bind_output(session.get_outputs()[0].name, "cuda")

    def run() -> None:
        for _ in range(REPEATS):
            session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def engine(onnx_path: Path) -> Run:
    """Return what runs a TensorRT engine of an ONNX model on pictures that lie on the device."""
    plan = onnx_path.with_suffix(".plan")
    engine_from_onnx(onnx_path, plan, "gpu", BuildOptions(profile=Profile(1, BATCH, BATCH)))
    backend = open_backend(plan, BackendOptions())
    backend.probabilities(np.zeros((BATCH, 256, 256, 3), dtype=np.uint8))
    slot = backend.free.get()  # type: ignore[attr-defined]

    def run() -> None:
        slot.stream.use()
        for _ in range(REPEATS):
            slot.context.execute_async_v3(int(slot.stream.handle))
        slot.stream.wait()

    return run


def compiled(source: Source, kind: torch.dtype) -> Run:
    """Return torch.compile of the network with mean, crops, softmax and average on the device."""
    network = source.network.to("cuda", kind)
    mean = torch.from_numpy(source.mean).to("cuda")
    pictures = torch.randint(0, 256, (BATCH, 256, 256, 3), device="cuda", dtype=torch.uint8)

    def classify() -> torch.Tensor:
        planes = (pictures.float() - mean).permute(0, 3, 1, 2).to(kind)
        five = [planes[:, :, y : y + 224, x : x + 224] for y, x in five_offsets(256, 224)]
        crops = torch.cat([*five, *(crop.flip(3) for crop in five)])
        probabilities: torch.Tensor = network(crops).float().softmax(1).reshape(CROPS, BATCH, -1).mean(0)
        return probabilities

    fast = torch.compile(classify, mode="max-autotune")

    def run() -> None:
        with torch.inference_mode():
            for _ in range(REPEATS):
                fast()
        torch.cuda.synchronize()

    return run


def trtexec(naive: Path) -> Callable[[], float]:
    """Return what runs trtexec in float16 on the naive graph, data on the device, and gives the seconds of a turn."""
    shape = f"x:{BATCH * CROPS}x3x224x224"

    def run() -> float:
        command = ["trtexec", f"--onnx={naive}", f"--shapes={shape}", "--noDataTransfers", "--useCudaGraph"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = re.search(r"Throughput: ([\d.]+) qps", out)
        if found is None:
            raise RuntimeError("trtexec names no throughput")
        return REPEATS / float(found[1])

    return run


def limits() -> tuple[Subject, Subject]:
    """Return a large matrix product in bfloat16, in operations, and a large copy, in bytes read and written."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)

    def product() -> None:
        torch.mm(left, right)
        torch.cuda.synchronize()

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return Subject("matrix product", product, 2.0 * 8192**3), Subject("copy", copy, 2.0 * source.numel())


def measure_gpu(rounds: int) -> None:
    """Measure everything that can be had on this GPU and print a Markdown table."""
    if not torch.cuda.is_available():
        sys.exit("there is no GPU that torch can use; leave --gpu out for the CPU")
    pictures = BATCH * REPEATS
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), full_size_source(Recipe())
        naive = folder / "naive.onnx"
        naive_export(source.network, naive)
        shape, crops = (BATCH, 256, 256, 3), (BATCH * CROPS, 3, 224, 224)
        makers: dict[str, Callable[[], Run]] = {"naive, ORT CUDA": lambda: bound(naive, crops, np.float32)}
        picture = np.zeros((1, 256, 256, 3), dtype=np.uint8)
        for precision in ("fp16", "bf16"):
            path = folder / f"{precision}.onnx"
            export_onnx([source], picture, ["picture"], path, ExportOptions(stem="shared", precision=precision))
            makers[f"ours, {precision}, ORT CUDA"] = partial(bound, path, shape, np.uint8)
            makers[f"ours, {precision}, TensorRT"] = partial(engine, path)
        makers["torch.compile, bf16"] = lambda: compiled(source, torch.bfloat16)
        subjects = []
        for label, make in makers.items():
            try:
                subjects.append(Subject(label, make(), pictures))
            except Exception as error:
                print(f"left out: {label}, {reason(error)}", file=sys.stderr)
        if shutil.which("trtexec"):
            subjects.append(Subject("naive, trtexec", trtexec(naive), pictures, own_clock=True))
        product, copy = limits()
        take_turns([*subjects, product, copy], Limit(rounds=rounds))
    print(table(subjects, product, copy))


def table(subjects: list[Subject], product: Subject, copy: Subject) -> str:
    """Return rates, ratios to the best peer and shares of the roofline as Markdown."""
    measured = [subject for subject in subjects if subject.seconds]
    peers = [subject for subject in measured if not subject.name.startswith("ours")]
    peer = next((one for one in peers if "trtexec" in one.name), None) or max(peers, key=lambda one: one.rate)
    # Weights are read once a batch; activations stay out of the bound, which so is a lower one.
    floor = max(2 * macs() * CROPS * BATCH / product.rate, 2 * 60_965_224 / copy.rate) / BATCH
    lines = [
        f"{torch.cuda.get_device_name()}, batch {BATCH}; goals {GOAL:,} pictures/s and {RATIO_GOAL} x the peer",
        "",
    ]
    lines += [f"| subject | pictures/s | ratio to {peer.name} | share of the roofline |", "| --- | --- | --- | --- |"]
    for one in measured:
        lines.append(f"| {one.name} | {one.rate:,.0f} | {ratio(peer, one)} | {one.rate * floor:.0%} |")
    return "\n".join(lines)
