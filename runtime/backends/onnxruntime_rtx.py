"""ONNX Runtime's TensorRT-RTX provider: a plugin in a package of its own, which compiles for RTX cards at its start.

The plugin's library is registered with whichever ONNX Runtime is installed, the CPU package being enough. What it
compiled is kept as a context model, an ONNX file that holds the engine, and opened in place of the model from then on.
ONNX Runtime API: register_execution_provider_library, get_ep_devices, SessionOptions.add_provider_for_devices,
ModelCompiler.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime as ort

from alexnet.errors import DeviceError, missing_package
from alexnet.files import cache_folder, sha256_of
from alexnet.runtime.backends.interface import Backend, BackendOptions
from alexnet.runtime.backends.onnx_file import OnnxFile, read_onnx
from alexnet.runtime.backends.onnxruntime import OnnxRuntime, check_precision, check_provider, session_options

PACKAGE, EXTRA = "onnxruntime_ep_nv_tensorrt_rtx", "rtx-provider"


def open_tensorrt_rtx(path: Path, options: BackendOptions) -> Backend:
    """Return the ONNX model in `path` on an RTX card by the TensorRT-RTX provider.

    Raises MissingPackageError without the plugin's package, ModelError for a file that is no model of this toolchain,
    and DeviceError when the plugin finds no such card or leaves nodes to the CPU without `options.allow_cpu`.
    """
    file = read_onnx(path, options.features)
    check_precision(file, options)
    name, device = _device(options.gpu)
    cache = (options.cache or cache_folder()) / f"{PACKAGE}-{ort.__version__}"
    settings = _settings(file, options, device)
    compiled = cache / f"{sha256_of(path)[:16]}-gpu{options.gpu}.onnx"
    try:
        if not compiled.is_file():
            _compile(file, settings, compiled)
        session = ort.InferenceSession(str(compiled), settings)
    except Exception as error:
        # ONNX Runtime's exceptions share no base class of their own.
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} cannot run {path} by {name}: {' '.join(str(error).split())}; if it ran "
            f"before, delete {compiled}; on a CPU give --backend onnxruntime-cpu"
        ) from None
    return OnnxRuntime(session, file, check_provider(session, name, file, options), options)


def _device(number: int) -> tuple[str, Any]:
    """Return the provider's name and its device of a number, registering the plugin's library the first time.

    DeviceError when the library cannot be loaded, finds no card, or has none of that number.
    """
    try:
        plugin = importlib.import_module(PACKAGE)
    except ImportError:
        raise missing_package(PACKAGE.replace("_", "-"), EXTRA, "the backend onnxruntime-tensorrt-rtx") from None
    name = str(plugin.get_ep_name())
    if name not in ort.get_available_providers() and not _devices(name):
        try:
            ort.register_execution_provider_library(name, plugin.get_library_path())
        except Exception as error:
            raise DeviceError(
                f"ONNX Runtime {ort.__version__} cannot load the plugin of {name}: {' '.join(str(error).split())}; "
                "see alexnet doctor"
            ) from None
    devices = _devices(name)
    if number >= len(devices):
        found = f"{len(devices)} of them" if devices else "none"
        raise DeviceError(
            f"{name} needs an RTX card, Ampere or later; number {number} was asked for and it finds "
            f"{found}; on other NVIDIA GPUs give --backend onnxruntime-cuda, on a CPU --backend onnxruntime-cpu"
        )
    return name, devices[number]


def _devices(name: str) -> list[Any]:
    """Return the devices that a provider serves here."""
    return [device for device in ort.get_ep_devices() if device.ep_name == name]


def _settings(file: OnnxFile, options: BackendOptions, device: Any) -> ort.SessionOptions:
    """Return the options of a session on a device."""
    settings = session_options(file, options, on_gpu=True)
    settings.add_provider_for_devices([device], {})
    return settings


def _compile(file: OnnxFile, settings: ort.SessionOptions, compiled: Path) -> None:
    """Write the context model of a file: the compiled engine in one ONNX file, whole or not at all."""
    compiled.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=compiled.parent, prefix=".compiling-") as folder:
        made = Path(folder) / compiled.name
        compiler = ort.ModelCompiler(settings, file.source(), embed_compiled_data_into_model=True)
        compiler.compile_to_file(str(made))
        made.replace(compiled)
