"""OpenVINO on the CPU, from the same ONNX file.

OpenVINO computes a float32 model in bfloat16 by itself where a CPU has it, so the precision is always asked for, and
what was given is read back: a CPU without bfloat16 goes on in float32 without a word.
OpenVINO API: Core.read_model, Core.compile_model, hint::performance_mode, hint::inference_precision, cache_dir.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from alexnet.errors import DeviceError, ModelError
from alexnet.files import sha256_of
from alexnet.metadata import OUTPUT
from alexnet.ops import inlined
from alexnet.runtime.backends.interface import Backend, BackendOptions, Floats
from alexnet.runtime.backends.onnx_file import OnnxBackend, OnnxFile, read_onnx

# Precision -> OpenVINO's name for it.
PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
# What a model is in when its Q/DQ say so, and only then.
QUANTISED = ("int8", "fp8")


class OpenVino(OnnxBackend):
    """An ONNX model compiled by OpenVINO for the CPU."""

    name, device, library = "openvino-cpu", "CPU", "OpenVINO"

    def __init__(self, compiled: ov.CompiledModel, file: OnnxFile, precision: str) -> None:
        super().__init__(file)
        self.compiled = compiled
        self.precision = precision
        self.streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.requests = [compiled.create_infer_request() for _ in range(self.streams)]

    def run(self, fed: npt.NDArray[Any]) -> list[Floats]:
        """Return the graph's outputs for its input, its pictures shared among the streams."""
        parts = min(self.streams if self.metadata.batch is None else 1, len(fed))
        shares = np.array_split(fed, parts)
        for request, share in zip(self.requests, shares, strict=False):
            request.start_async({0: share}, share_inputs=True)
        answers = []
        for request, _ in zip(self.requests, shares, strict=False):
            request.wait()
            answers.append([request.get_output_tensor(place).data.copy() for place in range(len(self.outputs))])
        shared = zip(self.outputs, zip(*answers, strict=True), strict=True)
        return [np.concatenate(output) if name == OUTPUT else self._by_crop(output) for name, output in shared]

    def _by_crop(self, parts: tuple[Floats, ...]) -> Floats:
        """Return the streams' shares [crops * n, F] of a hidden layer as one [crops * N, F], the crops outermost."""
        crops = self.metadata.crops
        by_crop = [part.reshape(crops, part.shape[0] // crops, -1) for part in parts]
        return np.concatenate(by_crop, axis=1).reshape(-1, by_crop[0].shape[2])

    def close(self) -> None:
        """Free the compiled model."""
        del self.requests, self.compiled


def open_model(path: Path, options: BackendOptions) -> Backend:
    """Return the ONNX model in `path` compiled for the CPU.

    Raises ModelError for a file that is no model of this toolchain or that OpenVINO cannot convert, and DeviceError
    when `options.precision` is asked for and this CPU does not have it.
    """
    file = read_onnx(path, options.features)
    core = ov.Core()
    wanted = options.precision or (file.metadata.precision if file.metadata.precision in PRECISIONS else "fp32")
    if wanted.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        if options.precision:
            raise _lacks(core, wanted)
        # The roundings that the graph itself asks for are lost, which the backend's `precision` says.
        wanted = "fp32"
    settings = {"PERFORMANCE_HINT": options.hint.upper(), "INFERENCE_PRECISION_HINT": PRECISIONS[wanted]}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = str(options.threads)
    if options.cache:
        # OpenVINO knows a file by its name, time and size alone; a folder by the digest keeps another model's out.
        settings["CACHE_DIR"] = str(options.cache / f"openvino-{ov.__version__}" / sha256_of(path)[:16])
    try:
        source = _inlined(file)
        if isinstance(source, str) and options.cache:
            # A file that was compiled before is then not even parsed.
            compiled = core.compile_model(source, "CPU", settings)
        else:
            model = core.read_model(BytesIO(source) if isinstance(source, bytes) else source)
            del source
            compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:
        # OpenVINO raises RuntimeError and classes of its own for whatever it cannot convert.
        reason = " ".join(str(error).split())
        raise ModelError(
            f"OpenVINO {ov.__version__} refuses {path}: {reason}; give --backend onnxruntime-cpu"
        ) from None
    given = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if given != PRECISIONS[wanted]:
        raise _lacks(core, wanted)
    # Explicit Q/DQ is computed in its own type whatever the hint, which is for what stands between.
    quantised = file.metadata.precision in QUANTISED and wanted == "fp32"
    return OpenVino(compiled, file, file.metadata.precision if quantised else wanted)


def _inlined(file: OnnxFile) -> bytes | str:
    """Return what OpenVINO opens: the file, or for a model with functions a graph in which their bodies stand."""
    if not file.model.functions:
        return file.source()
    data: bytes = inlined(file.whole()).SerializeToString()
    return data


def _lacks(core: ov.Core, precision: str) -> DeviceError:
    """Return the error of a CPU without the arithmetic that was asked for."""
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    return DeviceError(f"{name} has no {precision} arithmetic that OpenVINO uses; leave --precision out for fp32")
