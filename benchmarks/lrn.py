"""The lowerings of response normalisation: nodes, time and largest difference, in ONNX Runtime and OpenVINO, one run.

    make ops && .venv/bin/python benchmarks/lrn.py

Three subjects: lrn1 and lrn2 of the paper alone, each on the ten crops of one picture, and the whole network with
random weights on one picture. All sessions of a subject take turns, round by round; the tables have the fastest round
of each, which other work on the machine disturbs least. A norm is held against section 3.3's formula in float64, the
network's probabilities against the torch network's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import torch
from onnx import TensorProto, helper

from alexnet import ops
from alexnet.architecture import ResponseNorm, layer_table
from alexnet.export.builder import GraphBuilder
from alexnet.export.graph import onnx_model
from alexnet.export.layers import GraphSource
from alexnet.export.lrn import response_norm
from alexnet.export.options import ExportOptions, Lowering
from alexnet.recipe import NetworkRecipe
from alexnet.train.evaluate import ten_crop_probabilities
from alexnet.train.network import Network, numpy_weights

Array = npt.NDArray[Any]
Run = Callable[[Array], Array]
LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)
RUNTIMES = ("ONNX Runtime", "OpenVINO")
# Seconds between two runs.
PAUSE = 0.1
NORMS = {"lrn1": (10, 96, 55, 55), "lrn2": (10, 256, 27, 27)}


@dataclass
class Subject:
    """What is measured: a model for each lowering, its input, what is expected, and what was found."""

    models: dict[Lowering, onnx.ModelProto]
    x: Array
    expected: Array
    seconds: dict[tuple[str, Lowering], list[float]] = field(default_factory=dict)
    differences: dict[tuple[str, Lowering], float] = field(default_factory=dict)


def formula(a: Array, norm: ResponseNorm, columns: int) -> Array:
    """Return section 3.3's b of a [N, C, H, W] in float64."""
    out = np.empty(a.shape)
    for maps in np.split(np.arange(a.shape[1]), columns):
        for i in maps:
            near = maps[abs(maps - i) <= norm.size // 2]
            sums = (a[:, near].astype(np.float64) ** 2).sum(axis=1)
            out[:, i] = a[:, i] / (norm.k + norm.alpha * sums) ** norm.beta
    return out


def norm_subject(name: str, shape: tuple[int, ...]) -> Subject:
    """Return one of the paper's norms alone, on what a ReLU might give it."""
    norm, models = ResponseNorm(), {}
    for lowering in LOWERINGS:
        graph = GraphBuilder()
        response_norm(graph, "x", name, norm, shape[1], 2, lowering)
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, list(shape)) for end in ("x", name)]
        for function in graph.functions.values():
            function.opset_import.append(helper.make_opsetid("", 18))
        imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in graph.domains)]
        proto = helper.make_graph(graph.nodes, name, ends[:1], ends[1:], graph.initialisers)
        functions = list(graph.functions.values())
        models[lowering] = helper.make_model(proto, opset_imports=imports, functions=functions, ir_version=10)
    x = np.maximum(np.random.default_rng(0).normal(0, 100, shape), 0).astype(np.float32)
    return Subject(models, x, formula(x, norm, 2))


def network_subject() -> Subject:
    """Return the paper's network with random weights, on one picture."""
    network = Network(layer_table(NetworkRecipe())).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            spread = 0.1 if name.endswith("bias") else (2.0 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
    random = np.random.default_rng(0)
    mean = random.uniform(90, 160, (256, 256, 3)).astype(np.float32)
    source = GraphSource(network.architecture, numpy_weights(network), mean)
    models = {lowering: onnx_model([source], ExportOptions(lrn=lowering)) for lowering in LOWERINGS}
    picture = random.integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    return Subject(models, picture, ten_crop_probabilities(network, picture, mean))


def onnx_runtime(model: onnx.ModelProto) -> Run:
    """Return the model in ONNX Runtime, with the operator's library where it needs it."""
    options = onnxruntime.SessionOptions()
    ops.register(options, model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def open_vino(model: onnx.ModelProto) -> Run:
    """Return the model in OpenVINO in float32, its functions inlined."""
    core = openvino.Core()
    read = core.read_model(ops.inlined(model).SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
    return lambda x: np.array(compiled(x)[0])


def measure(subject: Subject, rounds: int) -> None:
    """Open every session and let them take turns; the comparison before warms them up."""
    runs: dict[tuple[str, Lowering], Run] = {}
    for lowering, model in subject.models.items():
        runs["ONNX Runtime", lowering] = onnx_runtime(model)
        if lowering != "plugin":
            runs["OpenVINO", lowering] = open_vino(model)
    for key, run in runs.items():
        subject.differences[key] = float(np.abs(run(subject.x) - subject.expected).max())
        subject.seconds[key] = []
    for _ in range(rounds):
        for key, run in runs.items():
            # A runtime's threads spin for a while after a run, and would take the next one's cores.
            time.sleep(PAUSE)
            began = time.perf_counter()
            run(subject.x)
            subject.seconds[key].append(time.perf_counter() - began)


def table(subjects: dict[str, Subject], number: int) -> str:
    """Return the results as Markdown: nodes of a norm and of the network, milliseconds, largest differences."""
    head = [f"{runtime}, {name}" for runtime in RUNTIMES for name in subjects]
    lines = [f"| lowering | nodes of a norm | nodes of the net | {' | '.join(head)} |", "| --- |" + " --- |" * 8]
    differences = [f"| lowering | {' | '.join(head)} |", "| --- |" + " --- |" * 6]
    for lowering in LOWERINGS:
        nodes = [str(len(subjects[name].models[lowering].graph.node)) for name in ("lrn1", "net")]
        keys = [(subject, (runtime, lowering)) for runtime in RUNTIMES for subject in subjects.values()]
        times = [f"{1e3 * min(s.seconds[key]):.1f}" if key in s.seconds else "-" for s, key in keys]
        found = [f"{s.differences[key]:.1e}" if key in s.differences else "-" for s, key in keys]
        lines.append(f"| `{lowering}` | {' | '.join([*nodes, *times])} |")
        differences.append(f"| `{lowering}` | {' | '.join(found)} |")
    return "\n".join(
        [f"Milliseconds, the fastest of {number} rounds:", "", *lines, "", "Differences:", "", *differences]
    )


def main() -> None:
    """Measure the norms and the network and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    subjects = {name: norm_subject(name, shape) for name, shape in NORMS.items()} | {"net": network_subject()}
    for subject in subjects.values():
        measure(subject, rounds)
    print(f"onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__}\n")
    print(table(subjects, rounds))


if __name__ == "__main__":
    main()
