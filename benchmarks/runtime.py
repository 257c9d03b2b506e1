"""Ten-crop inference on the full-size net: ours beside torch, torch.onnx's own export and OpenVINO's benchmark_app.

    make ops && .venv/bin/python benchmarks/runtime.py

Random weights, float32, 256 x 256 pictures. Everything takes turns, round by round, and ratios are taken within a
round; a table has the median and the quartiles, and the ratio of the fastest rounds, which other work on the machine
disturbs least. The naive graph is what `torch.onnx.export` makes of the network, with the crops, the mean, softmax and
the average on the host by numpy. benchmark_app is OpenVINO's own, from its wheel, on that graph with random crops and
no work on the host; its pictures are a tenth of its crops. GFLOP/s are those of ten plain crops, for every subject.
With a GPU and a CUDA build of torch and ONNX Runtime, `--gpu` measures that instead (benchmarks/runtime_gpu.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from runtime_nets import benchmark_app, full_size_source, macs, naive_export, naive_host, write_jpegs
from runtime_whole import memory, startup, whole

from alexnet import ops
from alexnet.crops import CROPS
from alexnet.errors import MissingPackageError
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.recipe import Recipe
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.benchmark.limits import limit_subjects
from alexnet.runtime.benchmark.machine import machine
from alexnet.runtime.benchmark.timing import Limit, Subject, ratio, take_turns
from alexnet.train.evaluate import ten_crop_probabilities

Run = Callable[[], object]
# Subject -> (the one it is compared with, the goal of the ratio, and what is compared).
GOALS = {
    "ours, plain | ORT": (("torch eager", 2.5), ("naive | ORT", 1.4)),
    "ours, shared stem | ORT": (("torch eager", 2.5), ("naive | ORT", 1.4), ("ours, plain | ORT", 1.08)),
    "ours, deep stem | ORT": (("torch eager", 2.5), ("naive | ORT", 1.4), ("ours, plain | ORT", 1.08)),
    "ours, deep stem, plugin | ORT": (("torch eager", 2.5), ("naive | ORT", 1.4), ("ours, plain | ORT", 1.08)),
    "ours, plain | OpenVINO f32": (("benchmark_app | OpenVINO f32", 1.0),),
    "ours, shared stem | OpenVINO f32": (("benchmark_app | OpenVINO f32", 1.0),),
    "ours, deep stem | OpenVINO f32": (("benchmark_app | OpenVINO f32", 1.0),),
    "ours, plain, throughput | OpenVINO f32": (("benchmark_app, throughput | OpenVINO f32", 1.0),),
    "ours, shared stem, throughput | OpenVINO f32": (("benchmark_app, throughput | OpenVINO f32", 1.0),),
    "ours, deep stem, throughput | OpenVINO f32": (("benchmark_app, throughput | OpenVINO f32", 1.0),),
    "ours, shared stem | OpenVINO bf16": (("benchmark_app | OpenVINO bf16", 1.0),),
    "ours, deep stem | OpenVINO bf16": (("benchmark_app | OpenVINO bf16", 1.0),),
    "ours, deep stem, throughput | OpenVINO bf16": (("benchmark_app, throughput | OpenVINO bf16", 1.0),),
}
SHARE_GOAL, WHOLE_GOAL, STARTUP_GOAL = 0.75, 0.90, 2.0


def exported(folder: Path, batch: int) -> tuple[dict[str, Path], Path, Source]:
    """Write the models and return ours by name, the naive one, and the network's source.

    Those for OpenVINO have a fixed batch, as benchmark_app gives the naive one: it plans better for known shapes.
    """
    source = full_size_source(Recipe())
    picture = np.random.default_rng(1).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    forms = {
        "plain": ExportOptions(),
        "shared stem": ExportOptions(stem="shared"),
        "deep stem": ExportOptions(stem="deep"),
        "plain, fixed batch": ExportOptions(batch=batch),
        "shared stem, fixed batch": ExportOptions(stem="shared", batch=batch),
        "deep stem, fixed batch": ExportOptions(stem="deep", batch=batch),
    }
    try:
        ops.ops_library()
        forms["deep stem, plugin"] = ExportOptions(stem="deep", lrn="plugin")
    except MissingPackageError as error:
        print(f"left out: {error.message}", file=sys.stderr)
    models = {}
    for name, options in forms.items():
        models[name] = folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        export_onnx([source], picture, ["picture"], models[name], options)
    naive = folder / "naive.onnx"
    naive_export(source.network, naive)
    return models, naive, source


def subjects_of(models: dict[str, Path], naive: Path, source: Source, batch: int, bf16: bool) -> list[Subject]:
    """Return everything that is timed, in pictures."""
    pictures = np.random.default_rng(2).integers(0, 256, (batch, 256, 256, 3), dtype=np.uint8)
    network, mean = source.network, source.mean
    session = onnxruntime.InferenceSession(str(naive), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    on_host = naive_host(lambda crops: session.run(None, {name: crops})[0], mean)
    subjects = [
        Subject("torch eager", lambda: ten_crop_probabilities(network, pictures, mean, batch=batch), batch),
        Subject("naive | ORT", lambda: on_host(pictures), batch),
    ]

    def ours(label: str, path: Path, options: BackendOptions) -> None:
        backend = open_backend(path, options)
        subjects.append(Subject(f"ours, {label}", lambda: backend.probabilities(pictures), batch))

    for form, path in models.items():
        if "fixed" in form:
            continue
        ours(f"{form} | ORT", path, BackendOptions(name="onnxruntime-cpu"))
    for precision in ("fp32", "bf16") if bf16 else ("fp32",):
        short = "f32" if precision == "fp32" else precision
        for hint in ("latency", "throughput"):
            label = ", throughput" if hint == "throughput" else ""
            app = benchmark_app(naive, name, batch, short, hint)
            subjects.append(Subject(f"benchmark_app{label} | OpenVINO {short}", app, batch, own_clock=True))
            for form in ("plain", "shared stem", "deep stem"):
                options = BackendOptions(name="openvino-cpu", precision=precision, hint=hint)
                # Pictures are shared among streams only where the batch is free.
                path = models[form if label else f"{form}, fixed batch"]
                ours(f"{form}{label} | OpenVINO {short}", path, options)
    return subjects


def table(subjects: list[Subject], limits: dict[str, dict[str, Subject]]) -> str:
    """Return rates, GFLOP/s and ratios to the peers with the issue's goals, as Markdown."""
    found = {subject.name: subject for subject in subjects if subject.seconds}
    lines = ["| subject | pictures/s | fastest | GFLOP/s | ratio to its peer | goal |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, subject in found.items():
        operations = 2e-9 * macs() * CROPS * subject.rate
        peers = [(peer, goal) for peer, goal in GOALS.get(name, ()) if peer in found]
        ratios = "<br>".join(
            f"{ratio(found[peer], subject)}, fastest {subject.fastest / found[peer].fastest:.2f} x {peer}"
            for peer, _ in peers
        )
        goals = "<br>".join(f"{goal}" for _, goal in peers)
        figures = f"{subject.rate:.2f} | {subject.fastest:.2f} | {operations:.1f}"
        lines.append(f"| {name.replace(' | ', ', ')} | {figures} | {ratios.replace(' | ', ', ')} | {goals} |")
    lines += [f"| {subject.name}: failed, {subject.error} | | | | | |" for subject in subjects if subject.error]
    lines += ["", "| runtime | large convolution | large matrix product | plain net | share of the better | goal |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for runtime, plain in (("onnxruntime-cpu", "ours, plain | ORT"), ("openvino-cpu", "ours, plain | OpenVINO f32")):
        convolution, product = (limits[runtime][name].rate / 1e9 for name in ("convolution", "matrix product"))
        reached = 2e-9 * macs() * CROPS * found[plain].rate
        share = reached / max(convolution, product)
        goal = f"{SHARE_GOAL:.0%}" if runtime == "openvino-cpu" else ""
        cells = (
            runtime,
            *(f"{figure:.0f} GFLOP/s" for figure in (convolution, product, reached)),
            f"{share:.0%}",
            goal,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4, help="pictures in a batch")
    parser.add_argument("--pictures", type=int, default=192, help="files of the long run whose memory is measured")
    parser.add_argument("--nets-only", action="store_true", help="leave out files to answers, startup and memory")
    parser.add_argument("--gpu", action="store_true", help="measure a GPU instead")
    arguments = parser.parse_args()
    if arguments.gpu:
        from runtime_gpu import measure_gpu

        measure_gpu(arguments.rounds)
        return
    here = machine()
    bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    print(
        f"{here['processor']}, {here['cores']} cores, {' '.join(here['instructions'])}; torch {torch.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}, onnx {onnx.__version__}; "
        f"batch {arguments.batch}, {arguments.rounds} rounds\n"
    )
    if not bf16:
        print("bfloat16 is not measured: this CPU has no such arithmetic.\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models, naive, source = exported(folder, arguments.batch)
        subjects = subjects_of(models, naive, source, arguments.batch, bf16)
        limits = {backend: limit_subjects(backend, BackendOptions()) for backend in ("onnxruntime-cpu", "openvino-cpu")}
        everything = [*subjects, *(subject for each in limits.values() for subject in each.values())]
        take_turns(
            everything,
            Limit(rounds=arguments.rounds),
            lambda done, total: print(f"round {done} of {total}", file=sys.stderr),
        )
        print(table(subjects, limits), flush=True)
        del subjects, everything, limits
        if arguments.nets_only:
            return
        jpegs = write_jpegs(folder / "jpegs", 64)
        best = models.get("deep stem, plugin", models["deep stem"])
        lines = ["", "| what | figure | goal |", "| --- | --- | --- |"]
        lines += whole(models["deep stem, fixed batch"], best, jpegs, arguments.batch, arguments.rounds, WHOLE_GOAL)
        lines += startup(models["plain"], jpegs[0], arguments.rounds, STARTUP_GOAL)
        lines += memory(models["plain"], jpegs, arguments.batch, arguments.pictures)
        print("\n".join(lines))


if __name__ == "__main__":
    main()
