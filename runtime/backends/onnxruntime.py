"""ONNX Runtime: on the CPU, on an NVIDIA GPU by its CUDA provider, and by its TensorRT provider.

A provider is asked for and then looked at: ONNX Runtime itself goes on silently with the CPU, for the whole graph or
for single nodes. ONNX Runtime API: session.disable_cpu_ep_fallback, session.record_ep_graph_assignment_info.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from alexnet.bfloat16 import runnable_on_cpu
from alexnet.errors import DeviceError, ModelError
from alexnet.files import cache_folder, sha256_of
from alexnet.gpu import find_gpus
from alexnet.ops import register
from alexnet.runtime.backends.interface import Backend, BackendOptions, Floats, Pixels
from alexnet.runtime.backends.onnx_file import OnnxBackend, OnnxFile, read_onnx
from alexnet.runtime.backends.skeleton import with_places

# ONNX Runtime's own option: where the files are that external data name.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
RTX = "NvTensorRTRTXExecutionProvider"
NAMES = {
    CPU: "onnxruntime-cpu",
    CUDA: "onnxruntime-cuda",
    TENSORRT: "onnxruntime-tensorrt",
    RTX: "onnxruntime-tensorrt-rtx",
}


class OnnxRuntime(OnnxBackend):
    """An ONNX model in an ONNX Runtime session."""

    library = "ONNX Runtime"

    def __init__(self, session: ort.InferenceSession, file: OnnxFile, provider: str, options: BackendOptions) -> None:
        super().__init__(file)
        self.session, self.gpu = session, options.gpu
        self.name = NAMES[provider]
        self.input = session.get_inputs()[0].name
        if provider == CPU:
            self.device = "CPU"
            # The CPU provider computes float16 graphs in float32 and drops the roundings between its nodes.
            self.precision = "fp32" if file.metadata.precision == "fp16" else file.metadata.precision
        else:
            self.device = f"{_gpu_name(options.gpu)}{_elsewhere(session, provider)}"
            self.precision = file.metadata.precision

    def run(self, fed: npt.NDArray[Any]) -> list[Floats]:
        """Return the graph's outputs for its input."""
        answers: list[Floats] = self.session.run(self.outputs, {self.input: fed})
        return answers

    def stages(self, pictures: Pixels) -> tuple[float, float, float] | None:
        """Return the seconds that one batch takes to the GPU, in the graph and back; None on a CPU, which copies none.

        ONNX Runtime API: OrtValue, IOBinding.
        """
        return None if self.device == "CPU" else self._bound_stages(pictures, "cuda")

    def _bound_stages(self, pictures: Pixels, device: str) -> tuple[float, float, float]:
        """Return the seconds of the three parts with inputs and outputs that lie on a device."""
        began = time.perf_counter()
        fed = ort.OrtValue.ortvalue_from_numpy(self.metadata.fed(pictures), device, self.gpu)
        uploaded = time.perf_counter()
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(self.input, fed)
        for name in self.outputs:
            binding.bind_output(name, device, self.gpu)
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        ran = time.perf_counter()
        binding.copy_outputs_to_cpu()
        return uploaded - began, ran - uploaded, time.perf_counter() - ran

    def close(self) -> None:
        """Free the session."""
        del self.session


def open_cpu(path: Path, options: BackendOptions) -> Backend:
    """Return the ONNX model in `path` on the CPU, with `options.threads` threads."""
    return _open(path, options, [(CPU, {})])


def open_cuda(path: Path, options: BackendOptions) -> Backend:
    """Return the ONNX model in `path` on a GPU by the CUDA provider; float32 is float32, without TensorFloat-32."""
    return _open(path, options, [(CUDA, _cuda_options(options))])


def open_tensorrt(path: Path, options: BackendOptions) -> Backend:
    """Return the ONNX model in `path` on a GPU by the TensorRT provider, what TensorRT refuses by CUDA.

    What TensorRT compiles is kept in `options.cache`, in a folder by the model's digest, and loaded the next time.
    """
    cache = (options.cache or cache_folder()) / f"onnxruntime-{ort.__version__}" / sha256_of(path)[:16]
    cache.mkdir(parents=True, exist_ok=True)
    tensorrt = {
        "device_id": str(options.gpu),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }
    return _open(path, options, [(TENSORRT, tensorrt), (CUDA, _cuda_options(options))])


def _gpu_name(number: int) -> str:
    """Return the name of the GPU of a number, as its driver gives it."""
    gpus = find_gpus().gpus
    return gpus[number].name if number < len(gpus) else f"GPU {number}"


def _cuda_options(options: BackendOptions) -> dict[str, str]:
    """Return what the CUDA provider is given."""
    return {"device_id": str(options.gpu), "use_tf32": "0"}


def _open(path: Path, options: BackendOptions, providers: list[tuple[str, dict[str, str]]]) -> Backend:
    """Return the model in a session of `providers`, the first being the one asked for.

    Raises ModelError for a file that is no model of this toolchain or another precision than its own, and DeviceError
    when ONNX Runtime gives another provider than the one asked for, or the CPU for some of the nodes, unless
    `options.allow_cpu` says that this is well.
    """
    file = read_onnx(path, options.features)
    check_precision(file, options)
    session = _session(file, options, providers)
    return OnnxRuntime(session, file, check_provider(session, providers[0][0], file, options), options)


def check_precision(file: OnnxFile, options: BackendOptions) -> None:
    """Raise ModelError when another precision than the model's own is asked for."""
    if options.precision not in (None, file.metadata.precision):
        raise ModelError(
            f"{file.path} computes in {file.metadata.precision} and ONNX Runtime does what the model says, not "
            f"{options.precision}; export it with --precision {options.precision}, or give --backend openvino-cpu"
        )


def check_provider(session: ort.InferenceSession, asked: str, file: OnnxFile, options: BackendOptions) -> str:
    """Return the provider that runs a session: the one asked for, or the CPU where `options.allow_cpu` accepts it.

    DeviceError when another provider was given, or the CPU for some of the nodes.
    """
    given = session.get_providers()
    if given[0] != asked:
        if not (options.allow_cpu and given[0] == CPU):
            raise DeviceError(
                f"ONNX Runtime runs {file.path} on {', '.join(given)}, expected {asked}; see alexnet doctor, "
                "or accept the CPU with --allow-cpu"
            )
        return CPU
    if asked != CPU and not options.allow_cpu and (on_cpu := _assigned(session)[CPU]):
        raise DeviceError(f"ONNX Runtime runs {on_cpu} nodes of {file.path} on the CPU; accept that with --allow-cpu")
    return asked


def _session(
    file: OnnxFile, options: BackendOptions, providers: list[tuple[str, dict[str, str]]]
) -> ort.InferenceSession:
    """Return a session of the file; ModelError when ONNX Runtime refuses it, DeviceError when it is a GPU's fault."""
    on_gpu = providers[0][0] != CPU
    settings = session_options(file, options, on_gpu)
    if on_gpu and options.allow_cpu:
        providers = [*providers, (CPU, {})]
    if on_gpu and hasattr(ort, "preload_dlls"):
        # CUDA and cuDNN from their Python packages, where these are installed.
        ort.preload_dlls()
    try:
        return ort.InferenceSession(_source(file, on_gpu, settings), settings, providers=providers)
    except Exception as error:
        # ONNX Runtime's exceptions share no base class of their own.
        if on_gpu:
            raise DeviceError(
                f"ONNX Runtime {ort.__version__} cannot run {file.path} by {providers[0][0]}: {error}; see alexnet "
                "doctor, or accept the CPU with --allow-cpu"
            ) from None
        raise ModelError(
            f"ONNX Runtime {ort.__version__} refuses {file.path}: {error}; export the model again"
        ) from None


def session_options(file: OnnxFile, options: BackendOptions, on_gpu: bool) -> ort.SessionOptions:
    """Return what every session is given; on a GPU no node may run on the CPU unless `options.allow_cpu` says so."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options.threads or 0
    # A plan of one block for all activations is made at the second run, beside the memory of the first: 70 MB more for
    # four pictures of the full-size net, and no faster.
    settings.enable_mem_pattern = False
    # Threads that spin while they wait for work take the cores from those that decode.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if on_gpu and not options.allow_cpu:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    register(settings, file.model)
    return settings


def _source(file: OnnxFile, on_gpu: bool, settings: ort.SessionOptions) -> bytes | str:
    """Return what the session opens; bfloat16, which the CPU provider lacks, is written out in float32 for it.

    On a CPU large weights are mapped from the file where they stand, which is twice as fast as having it parsed.
    """
    if file.metadata.precision == "bf16" and not on_gpu:
        data: bytes = runnable_on_cpu(file.whole()).SerializeToString()
        return data
    if on_gpu or not file.places:
        return file.source()
    real = file.path.resolve()
    settings.add_session_config_entry(_EXTERNAL_FOLDER, str(real.parent))
    return with_places(file.model, file.places, real.name)


def _assigned(session: ort.InferenceSession) -> Counter[str]:
    """Return how many nodes each provider runs, nothing where this ONNX Runtime cannot tell."""
    found: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            found[str(part.ep_name)] += len(part.get_nodes())
    return found


def _elsewhere(session: ort.InferenceSession, provider: str) -> str:
    """Return which nodes run by another provider than the session's, as an addition to the device."""
    others = [f"{number} nodes by {name}" for name, number in _assigned(session).items() if name != provider]
    return f" ({', '.join(others)})" if others else ""
