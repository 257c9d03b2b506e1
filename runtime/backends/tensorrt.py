"""A TensorRT engine on an NVIDIA GPU, by `tensorrt` or `tensorrt_rtx`, whichever built the plan.

Nothing is deserialised before the sidecar, the digest, the version, the driver and the compute capability have
been checked in that order. Host code in engines stays disabled, which is TensorRT's default.
TensorRT API: Runtime.deserialize_cuda_engine, IExecutionContext.set_tensor_address, execute_async_v3.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alexnet.errors import DeviceError, SidecarError, missing_package
from alexnet.gpu import Gpu, GpuSearch, find_gpus
from alexnet.ops.tensorrt_plugin import register_plugin
from alexnet.runtime.backends.interface import Backend, BackendOptions, Floats, Pixels
from alexnet.runtime.cuda import Stream
from alexnet.sidecar import Sidecar
from alexnet.tensorrt_log import tensorrt_log

# Module -> the extra that installs it; nothing else may be named by a sidecar.
EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}


def open_engine(path: Path, options: BackendOptions) -> Backend:
    """Return the engine in `path`, ready to run.

    Raises SidecarError, MissingPackageError or DeviceError, each naming both sides and what mends it.
    """
    sidecar = Sidecar.load(path)
    sidecar.check_digest(path)
    trt = import_tensorrt(sidecar)
    check_version(sidecar, str(trt.__version__), path)
    check_device(sidecar, find_gpus(), path)
    return TensorRTEngine(trt, path, sidecar)


def import_tensorrt(sidecar: Sidecar) -> ModuleType:
    """Return the module that built the plan; SidecarError for a name that is neither of the two."""
    if sidecar.module not in EXTRAS:
        raise SidecarError(f"the sidecar names the module {sidecar.module!r}, expected one of {', '.join(EXTRAS)}")
    try:
        return importlib.import_module(sidecar.module)
    except ImportError:
        package = sidecar.module.replace("_", "-")
        raise missing_package(package, EXTRAS[sidecar.module], "running this engine") from None


def check_version(sidecar: Sidecar, installed: str, path: Path) -> None:
    """Raise SidecarError unless the plan was built by the version that is installed: plans serve no other."""
    if sidecar.tensorrt_version != installed:
        raise SidecarError(
            f"{path} was built by {sidecar.module} {sidecar.tensorrt_version}, {installed} is installed; "
            f"build it again with: alexnet build {sidecar.onnx_name} --target {sidecar.target}"
        )


def check_device(sidecar: Sidecar, search: GpuSearch, path: Path) -> Gpu:
    """Return the GPU that will run the plan; DeviceError when there is none or it was not built for it."""
    if not search.gpus:
        raise DeviceError(
            f"{path} is a TensorRT engine and needs an NVIDIA GPU: {search.reason}; on a CPU use the model it was "
            f"built from: --engine {sidecar.onnx_name}"
        )
    gpu = search.gpus[0]
    if gpu.capability not in sidecar.compute_capabilities:
        raise DeviceError(
            f"{path} was built for compute capability {', '.join(sidecar.compute_capabilities)}, {gpu.name} has "
            f"{gpu.capability}; build it for this GPU with: alexnet build {sidecar.onnx_name}"
        )
    return gpu


def check_tensors(trt: Any, engine: Any, sidecar: Sidecar, path: Path) -> None:
    """Raise SidecarError unless the engine takes and gives what its sidecar says; the device's memory relies on it."""
    side, classes = sidecar.metadata.preprocessing.side, len(sidecar.metadata.labels)
    expected = {
        sidecar.input_name: (trt.DataType.UINT8, (-1, side, side, 3)),
        sidecar.output_name: (trt.DataType.FLOAT, (-1, classes)),
    }
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    found = {name: (engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))) for name in names}
    if found != expected:
        raise SidecarError(
            f"{path} takes and gives {_tensors(found)}, its sidecar says {_tensors(expected)}; "
            f"build it again with: alexnet build {sidecar.onnx_name}"
        )


def _tensors(tensors: dict[str, tuple[Any, tuple[int, ...]]]) -> str:
    """Return tensors as name, type and shape, for a message."""
    return ", ".join(f"{name} {kind.name} {list(shape)}" for name, (kind, shape) in tensors.items())


class TensorRTEngine:
    """A deserialised engine with its context, one stream, and device memory for its largest batch."""

    name = "tensorrt"

    def __init__(self, trt: ModuleType, path: Path, sidecar: Sidecar) -> None:
        self.metadata = sidecar.metadata
        self.precision = sidecar.precision
        self.largest_batch: int | None = sidecar.profile.largest
        self.sidecar = sidecar
        # The logger and the runtime must outlive the engine.
        self.log = tensorrt_log(trt)
        self.runtime: Any = trt.Runtime(self.log)
        self.runtime.engine_host_code_allowed = False
        if sidecar.metadata.lrn == "plugin":
            register_plugin(trt)
        self.engine: Any = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise DeviceError(
                f"{sidecar.module} cannot load {path} on this GPU ({self.log.last()}); "
                f"build it here with: alexnet build {sidecar.onnx_name}"
            )
        check_tensors(trt, self.engine, sidecar, path)
        self.context: Any = self.engine.create_execution_context()
        if self.context is None:
            raise DeviceError(f"{path} finds no room on the GPU ({self.log.last()}); close other programs there")
        self.stream = Stream(EXTRAS[sidecar.module])
        self.device = find_gpus().gpus[0].name
        side, classes = self.metadata.preprocessing.side, len(self.metadata.labels)
        self.pictures_address = self.stream.allocate(sidecar.profile.largest * side * side * 3)
        self.answers_address = self.stream.allocate(sidecar.profile.largest * classes * 4)
        self.context.set_tensor_address(sidecar.input_name, self.pictures_address)
        self.context.set_tensor_address(sidecar.output_name, self.answers_address)

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the probabilities [N, classes] of pictures [N, S, S, 3], in parts of at most the largest batch."""
        largest = self.sidecar.profile.largest
        parts = [self._run(pictures[first : first + largest]) for first in range(0, len(pictures), largest)]
        return np.concatenate(parts)

    def _run(self, pictures: Pixels) -> Floats:
        """Run one batch that fits the profile; fewer than its smallest batch are filled up with the first picture."""
        number, smallest = len(pictures), self.sidecar.profile.smallest
        if number < smallest:
            pictures = np.concatenate([pictures, np.repeat(pictures[:1], smallest - number, axis=0)])
        batch = np.ascontiguousarray(pictures)
        answers = np.empty((len(batch), len(self.metadata.labels)), dtype=np.float32)
        if not self.context.set_input_shape(self.sidecar.input_name, batch.shape):
            raise DeviceError(f"TensorRT refuses {len(batch)} pictures in a batch ({self.log.last()}); build again")
        self.stream.upload(self.pictures_address, batch)
        if not self.context.execute_async_v3(int(self.stream.handle)):
            raise DeviceError(
                f"TensorRT could not run {len(batch)} pictures ({self.log.last()}); use a smaller --batch"
            )
        self.stream.download(answers, self.answers_address)
        return answers[:number]

    def close(self) -> None:
        """Free the device memory, the context and the engine."""
        self.stream.free(self.pictures_address)
        self.stream.free(self.answers_address)
        del self.context, self.engine
        self.stream.close()
