"""The table of backends, from which the command line, the doctor and docs/backends.md are made."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from alexnet.gpu import find_gpus


@dataclass(frozen=True)
class BackendInfo:
    """One row: what a backend reads, runs on and needs.

    `suffixes` are those of the files it reads; `device` what it runs on; `precisions` the types of arithmetic it has,
    the model's being used unless another is asked for; `modules` are the Python modules it imports, with the package
    that brings each, and `extra` brings them all; `opener` is `module:function` of (path, options) -> Backend, imported
    only when it is used; `checked` says how far it has been tried; `provider` is ONNX Runtime's execution provider,
    where the package itself must have it.
    """

    name: str
    suffixes: tuple[str, ...]
    device: str
    precisions: tuple[str, ...]
    modules: tuple[tuple[str, str], ...]
    extra: str
    opener: str
    checked: str
    provider: str | None = None

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages it needs."""
        return tuple(package for _, package in self.modules)

    @property
    def install(self) -> str:
        """The command that installs what it needs."""
        return f"pip install 'alexnet-toolchain[{self.extra}]'"


GPU, CPU = "NVIDIA GPU", "CPU"
# The runtime that builds nothing: it never stands in a sidecar.
LEAN = "tensorrt-lean"
_HERE = "alexnet.runtime.backends"
_ONNXRUNTIME_GPU = (("onnxruntime", "onnxruntime-gpu"),)

# In the order of preference: the first usable one that reads the file is taken when none is asked for. The TensorRT
# provider compiles for minutes at its first start, so it stands behind those that start at once.
BACKENDS = (
    BackendInfo(
        "onnxruntime-cuda",
        (".onnx",),
        GPU,
        ("fp32", "fp16", "bf16"),
        _ONNXRUNTIME_GPU,
        "gpu",
        f"{_HERE}.onnxruntime:open_cuda",
        "what it is asked and gives, by a stand-in; not run",
        "CUDAExecutionProvider",
    ),
    BackendInfo(
        "onnxruntime-cpu",
        (".onnx",),
        CPU,
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        (("onnxruntime", "onnxruntime"),),
        "cpu",
        f"{_HERE}.onnxruntime:open_cpu",
        "run, by every test",
        "CPUExecutionProvider",
    ),
    BackendInfo(
        "openvino-cpu",
        (".onnx",),
        CPU,
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        (("openvino", "openvino"),),
        "openvino",
        f"{_HERE}.openvino:open_model",
        "run, by every test",
    ),
    BackendInfo(
        "onnxruntime-tensorrt",
        (".onnx",),
        GPU,
        ("fp32", "fp16", "bf16"),
        (*_ONNXRUNTIME_GPU, ("tensorrt", "tensorrt")),
        "gpu",
        f"{_HERE}.onnxruntime:open_tensorrt",
        "what it is asked and gives, by a stand-in; not run",
        "TensorrtExecutionProvider",
    ),
    BackendInfo(
        "onnxruntime-tensorrt-rtx",
        (".onnx",),
        GPU,
        ("fp32", "fp16", "bf16"),
        (("onnxruntime", "onnxruntime"), ("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime-ep-nv-tensorrt-rtx")),
        "rtx-provider",
        f"{_HERE}.onnxruntime_rtx:open_tensorrt_rtx",
        "its library up to where it asks for the driver; not run",
    ),
    BackendInfo(
        "tensorrt",
        (".plan", ".engine"),
        GPU,
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        (("tensorrt", "tensorrt"), ("cuda.bindings", "cuda-python")),
        "gpu",
        f"{_HERE}.tensorrt:open_engine",
        "all up to loading, by a stand-in; not run",
    ),
    BackendInfo(
        LEAN,
        (".plan", ".engine"),
        GPU,
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        (("tensorrt_lean", "tensorrt-lean"), ("cuda.bindings", "cuda-python")),
        "lean",
        f"{_HERE}.tensorrt:open_engine",
        "which plans it takes, by a stand-in; not run",
    ),
    BackendInfo(
        "tensorrt-rtx",
        (".plan", ".engine"),
        GPU,
        ("fp32", "fp16", "bf16", "int8", "fp8"),
        (("tensorrt_rtx", "tensorrt-rtx"), ("cuda.bindings", "cuda-python")),
        "rtx",
        f"{_HERE}.tensorrt:open_engine",
        "all up to loading, with real plans; not run",
    ),
)

NAMES = tuple(info.name for info in BACKENDS)


def find_backend(name: str) -> BackendInfo:
    """Return the row called `name`; KeyError when there is none."""
    return next(info for info in BACKENDS if info.name == name)


def missing(info: BackendInfo) -> str:
    """Return in words why a backend cannot be used here, empty when it can."""
    if absent := [package for module, package in info.modules if not importable(module)]:
        return f"{', '.join(absent)} not installed"
    if info.provider:
        import onnxruntime

        if info.provider not in onnxruntime.get_available_providers():
            return f"the installed onnxruntime {onnxruntime.__version__} has no {info.provider}"
    if info.device == GPU and not (search := find_gpus()).gpus:
        return search.reason
    return ""


def importable(module: str) -> bool:
    """Return whether a module can be found, without importing more than its parents."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def advice(info: BackendInfo) -> str:
    """Return what makes an unusable backend usable: the command, or the machine it needs."""
    if any(not importable(module) for module in dict(info.modules)):
        return info.install
    if info.device == GPU and not find_gpus().gpus:
        return "needs a machine with an NVIDIA GPU and its driver"
    if info.provider:
        return f"pip uninstall -y onnxruntime && {info.install}"
    return info.install


def backend_rows() -> list[tuple[str, ...]]:
    """Return the table as text, a tuple a backend, in the order of the columns of docs/backends.md."""
    return [
        (
            info.name,
            " ".join(info.suffixes),
            info.device,
            " ".join(info.precisions),
            " ".join(info.packages),
            info.install,
            info.checked,
        )
        for info in BACKENDS
    ]
