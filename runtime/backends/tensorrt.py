"""A TensorRT engine on an NVIDIA GPU, by `tensorrt` or `tensorrt_rtx`, whichever built the plan.

A plan that `tensorrt` built with --version-compatible also runs in its lean runtime, `tensorrt_lean`, which is smaller
and builds nothing, and in later versions of either.

Nothing is deserialised before the sidecar, the digest, the version, the driver and the compute capability have
been checked in that order. Host code in engines stays disabled, which is TensorRT's default.
TensorRT API: Runtime.deserialize_cuda_engine, ICudaEngine.get_tensor_profile_shape, create_execution_context.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np

from alexnet.errors import DeviceError, SidecarError, missing_package
from alexnet.gpu import Gpu, GpuSearch, find_gpus
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.ops.tensorrt_plugin import register_plugin
from alexnet.runtime.backends.interface import Backend, BackendOptions, Floats, OutOfMemory, Pixels
from alexnet.runtime.backends.tensorrt_refit import Weights, refit, weights_of
from alexnet.runtime.backends.tensorrt_slot import Ends, Slot
from alexnet.runtime.cuda import Stream
from alexnet.runtime.trusted import trusted_metadata
from alexnet.sidecar import Profile, Sidecar, sidecar_beside
from alexnet.tensorrt_log import tensorrt_log

# Module -> the extra that installs it. A sidecar names one that builds; the lean runtime is chosen by the user.
EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx", "tensorrt_lean": "lean"}
BUILDERS = ("tensorrt", "tensorrt_rtx")
# Batches on the GPU at once: while one is computed the other's pictures are copied.
IN_FLIGHT = 2


@dataclass(frozen=True)
class Plan:
    """What is known of a plan before it is loaded; `profile` is None where only the engine itself can tell.

    `weights` says where they are when the plan was built without them.
    """

    path: Path
    module: str
    metadata: ModelMetadata
    precision: str
    input_name: str
    output_name: str
    profile: Profile | None
    onnx_name: str
    weights: Weights | None = None


def open_engine(path: Path, options: BackendOptions) -> Backend:
    """Return the engine in `path`, ready to run on the GPU number `options.gpu`.

    A plan without a sidecar needs `options.trust`, and what `alexnet.runtime.trusted` reads. Raises SidecarError,
    MissingPackageError or DeviceError, each naming both sides and what mends it.
    """
    if options.trust and not sidecar_beside(path).is_file():
        return _open_bare(path, options)
    sidecar = Sidecar.load(path)
    sidecar.check_digest(path)
    module = loader_of(sidecar, path, options.name)
    trt = import_tensorrt(module)
    check_version(sidecar, str(trt.__version__), path, module)
    gpu = check_device(sidecar, find_gpus(), path, options.gpu)
    plan = Plan(
        path,
        module,
        sidecar.metadata,
        sidecar.precision,
        sidecar.input_name,
        sidecar.output_name,
        sidecar.profile,
        sidecar.onnx_name,
        weights_of(sidecar, path, options.like),
    )
    return TensorRTEngine(trt, plan, gpu, options.gpu)


def _open_bare(path: Path, options: BackendOptions) -> Backend:
    """Return an engine without a sidecar, such as trtexec's, with the metadata that the user gives."""
    metadata = trusted_metadata(path, options)
    module = (options.name or "tensorrt").replace("-", "_")
    trt = import_tensorrt(module)
    source = str(options.like or "its ONNX model")
    gpu = _gpu(find_gpus(), path, options.gpu, source)
    plan = Plan(path, module, metadata, metadata.precision, INPUT, OUTPUT, None, source)
    return TensorRTEngine(trt, plan, gpu, options.gpu)


def loader_of(sidecar: Sidecar, path: Path, backend: str | None) -> str:
    """Return the module that loads a plan: the one that built it, or the lean runtime where `backend` asks for that.

    Raises SidecarError for a module that builds no plans, and for a backend that does not load this one.
    """
    if sidecar.module not in BUILDERS:
        raise SidecarError(f"the sidecar names the module {sidecar.module!r}, expected one of {', '.join(BUILDERS)}")
    asked = (backend or sidecar.module).replace("-", "_")
    if asked == sidecar.module:
        return asked
    if asked != "tensorrt_lean" or sidecar.module != "tensorrt":
        raise SidecarError(f"{path} was built by {sidecar.module}, --backend {backend} was asked for; leave it out")
    wanting = [
        (not sidecar.options.get("version_compatible"), "with --version-compatible"),
        (bool(sidecar.options.get("strip_weights")), "without --strip-weights"),
        (sidecar.metadata.lrn == "plugin", "of a model of another --lrn than plugin"),
    ]
    if needed := [text for lacks, text in wanting if lacks]:
        raise SidecarError(
            f"{path} does not run in the lean runtime; build it again {' and '.join(needed)}: "
            f"alexnet build {sidecar.onnx_name} --target gpu"
        )
    return asked


def import_tensorrt(module: str) -> ModuleType:
    """Return a module of EXTRAS; MissingPackageError, naming its extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise missing_package(module.replace("_", "-"), EXTRAS[module], "running this engine") from None


def check_version(sidecar: Sidecar, installed: str, path: Path, module: str) -> None:
    """Raise SidecarError unless the version that is installed runs the plan: its own, or a later one if compatible."""
    built = sidecar.tensorrt_version
    compatible = bool(sidecar.options.get("version_compatible"))
    if built == installed or (compatible and _release(installed) >= _release(built)):
        return
    wanted = f"that or a later {module} is needed, and" if compatible else "a plan runs in no other, and"
    raise SidecarError(
        f"{path} was built by {sidecar.module} {built}: {wanted} {module} {installed} is installed; "
        f"build it again with: alexnet build {sidecar.onnx_name} --target {sidecar.target}"
    )


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: 11.4.0.106 as (11, 4, 0, 106)."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def check_device(sidecar: Sidecar, search: GpuSearch, path: Path, number: int = 0) -> Gpu:
    """Return the GPU that will run the plan; DeviceError when there is none or it was not built for it."""
    gpu = _gpu(search, path, number, sidecar.onnx_name)
    if not sidecar.runs_on(gpu.capability):
        raise DeviceError(
            f"{path} was built for compute capability {', '.join(sidecar.compute_capabilities)}, {gpu.name} has "
            f"{gpu.capability}; build it for this GPU with: alexnet build {sidecar.onnx_name}"
        )
    return gpu


def _gpu(search: GpuSearch, path: Path, number: int, onnx_name: str) -> Gpu:
    """Return the GPU of a number; DeviceError when there is none."""
    if not search.gpus:
        raise DeviceError(
            f"{path} is a TensorRT engine and needs an NVIDIA GPU: {search.reason}; on a CPU use the model it was "
            f"built from: --engine {onnx_name}"
        )
    if number >= len(search.gpus):
        raise DeviceError(f"there is no GPU {number}, expected 0 to {len(search.gpus) - 1}; leave --gpu out for 0")
    return search.gpus[number]


def check_tensors(trt: Any, engine: Any, plan: Plan) -> None:
    """Raise SidecarError unless the engine takes and gives what is known of it; the device's memory relies on it."""
    metadata = plan.metadata
    side, classes, batch = metadata.preprocessing.side, len(metadata.labels), metadata.batch or -1
    pixels = metadata.input == "pixels"
    picture = (trt.DataType.UINT8, (batch, side, side, 3)) if pixels else (trt.DataType.FLOAT, (batch, 3, side, side))
    expected = {plan.input_name: picture, plan.output_name: (trt.DataType.FLOAT, (batch, classes))}
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    found = {name: (engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))) for name in names}
    if found != expected:
        source = "its sidecar" if plan.profile else plan.onnx_name
        raise SidecarError(
            f"{plan.path} takes and gives {_tensors(found)}, {source} says {_tensors(expected)}; "
            f"build it again with: alexnet build {plan.onnx_name}"
        )


def _tensors(tensors: dict[str, tuple[Any, tuple[int, ...]]]) -> str:
    """Return tensors as name, type and shape, for a message."""
    return ", ".join(f"{name} {kind.name} {list(shape)}" for name, (kind, shape) in tensors.items())


class TensorRTEngine:
    """A deserialised engine with IN_FLIGHT slots, or as many as find room, for batches side by side."""

    def __init__(self, trt: ModuleType, plan: Plan, gpu: Gpu, number: int = 0) -> None:
        self.name, self.device = plan.module.replace("_", "-"), gpu.name
        self.metadata, self.precision = plan.metadata, plan.precision
        # The logger and the runtime must outlive the engine.
        self.log = tensorrt_log(trt)
        # The first stream sets this thread's GPU, on which the engine is loaded.
        streams = [Stream(EXTRAS[plan.module], number) for _ in range(IN_FLIGHT)]
        self.runtime: Any = trt.Runtime(self.log)
        self.runtime.engine_host_code_allowed = False
        if plan.metadata.lrn == "plugin":
            register_plugin(trt)
        self.engine: Any = self.runtime.deserialize_cuda_engine(plan.path.read_bytes())
        if self.engine is None:
            raise DeviceError(
                f"{plan.module} cannot load {plan.path} on this GPU ({self.log.last()}); "
                f"build it here with: alexnet build {plan.onnx_name}"
            )
        check_tensors(trt, self.engine, plan)
        if plan.weights:
            refit(trt, self.engine, self.log, plan.weights, plan.path)
        self.profile = plan.profile or _profile(self.engine, plan)
        self.largest_batch: int | None = self.profile.largest
        slots = self._slots(streams, plan)
        self.in_flight = len(slots)
        self.free: SimpleQueue[Slot] = SimpleQueue()
        for slot in slots:
            self.free.put(slot)

    def _slots(self, streams: list[Stream], plan: Plan) -> list[Slot]:
        """Return a slot for each stream; OutOfMemory when not even one finds room, fewer than asked when not all do."""
        metadata = self.metadata
        side = metadata.preprocessing.side
        pixels = metadata.input == "pixels"
        ends = Ends(
            plan.input_name,
            plan.output_name,
            (side, side, 3) if pixels else (3, side, side),
            np.uint8 if pixels else np.float32,
            len(metadata.labels),
        )
        slots: list[Slot] = []
        for stream in streams:
            context = self.engine.create_execution_context()
            try:
                if context is None:
                    raise OutOfMemory(
                        f"{plan.path} finds no room on the GPU ({self.log.last()}); close other programs there"
                    )
                slots.append(Slot(context, stream, ends, self.profile.largest, self.log))
            except OutOfMemory:
                if not slots:
                    raise
        return slots

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the probabilities [N, classes] of pictures [N, S, S, 3], in parts of at most the largest batch.

        As many threads as `in_flight` may call it at once; others wait.
        """
        largest = self.profile.largest
        slot = self.free.get()
        try:
            parts = [self._part(slot, pictures[first : first + largest]) for first in range(0, len(pictures), largest)]
        finally:
            self.free.put(slot)
        return np.concatenate(parts)

    def stages(self, pictures: Pixels) -> tuple[float, float, float]:
        """Return the seconds that one batch takes to the GPU, in the network and back, one after another."""
        slot = self.free.get()
        try:
            # The shape of the context is set by a run of the same size.
            self._part(slot, pictures)
            return slot.stages(self.metadata.fed(pictures))
        finally:
            self.free.put(slot)

    def _part(self, slot: Slot, pictures: Pixels) -> Floats:
        """Run one batch that fits the profile; fewer than its smallest batch are filled up with the last picture."""
        number, smallest = len(pictures), self.profile.smallest
        if number < smallest:
            pictures = np.concatenate([pictures, np.repeat(pictures[-1:], smallest - number, axis=0)])
        return slot.run(self.metadata.fed(pictures))[:number]

    def close(self) -> None:
        """Free the slots and the engine."""
        for _ in range(self.in_flight):
            self.free.get().close()
        del self.engine


def _profile(engine: Any, plan: Plan) -> Profile:
    """Return the batch sizes that the engine itself names for its first profile."""
    return Profile(*(int(shape[0]) for shape in engine.get_tensor_profile_shape(plan.input_name, 0)))
