"""What is installed here, what each stage needs, and what stands in the way."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata

from alexnet import __version__
from alexnet.gpu import find_gpus
from alexnet.runtime.backends.table import BACKENDS, advice, missing

# Extra -> (packages, what it is for).
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (("torch", "tensorboard"), "training and export"),
    "cpu": (("onnxruntime",), "inference and the proof of parity on a CPU"),
    "gpu": (
        ("onnxruntime-gpu", "tensorrt", "cuda-python", "nvidia-cuda-nvrtc"),
        "engines for any NVIDIA GPU, datacentre GPUs among them",
    ),
    "rtx": (
        ("tensorrt-rtx", "cuda-python"),
        "engines for RTX cards, built ahead of time without a GPU",
    ),
    "rtx-provider": (
        ("onnxruntime", "onnxruntime-ep-nv-tensorrt-rtx"),
        "ONNX models on RTX cards by ONNX Runtime's TensorRT-RTX provider",
    ),
    "lean": (("tensorrt-lean", "cuda-python"), "version-compatible engines of tensorrt, in a smaller runtime"),
    "gpu-decoding": (("nvidia-nvimgcodec-cu13",), "JPEGs decoded on the GPU"),
    "ilsvrc": (("scipy",), "reading the class list of ILSVRC's devkit (meta.mat)"),
    "openvino": (("openvino",), "another runtime for the ONNX model on a CPU"),
    "parquet": (("pyarrow",), "features as Parquet"),
    "plot": (
        ("matplotlib",),
        "alexnet reproduce, alexnet benchmark --plot, alexnet search --show",
    ),
    "report": (("jinja2", "matplotlib"), "the page of alexnet report"),
    "retrieval": (("usearch",), "the approximate index of alexnet index and alexnet search"),
    "ray": (("ray", "pyarrow"), "inference by many workers: alexnet infer --ray"),
    "serve": (("prometheus-client", "starlette", "uvicorn"), "serving over HTTP: alexnet serve"),
    "serve-grpc": (
        ("grpcio", "prometheus-client", "starlette", "tritonclient", "uvicorn"),
        "serving over gRPC too: alexnet serve --grpc-port",
    ),
    "remote": (("fsspec",), "prepared data on object storage"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do, empty when nothing."""

    subject: str
    found: str
    advice: str = ""


def installed(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def examine() -> list[Finding]:
    """Return everything the doctor looks at, in the order of the report."""
    findings = [
        Finding("alexnet", __version__),
        Finding(
            "Python",
            platform.python_version(),
            "" if sys.version_info >= (3, 11) else "install 3.11 or newer",
        ),
        Finding("platform", f"{platform.system()} {platform.machine()}"),
        Finding("GPU", find_gpus().reason, "" if find_gpus().gpus else "models in .onnx run on the CPU"),
    ]
    for extra, (packages, purpose) in EXTRAS.items():
        versions = {package: installed(package) for package in packages}
        found = ", ".join(f"{package} {version or 'not installed'}" for package, version in versions.items())
        absent = None in versions.values()
        findings.append(
            Finding(
                f"extra {extra}",
                found,
                f"for {purpose}: pip install 'alexnet-toolchain[{extra}]'" if absent else "",
            )
        )
    for info in BACKENDS:
        reason = missing(info)
        findings.append(
            Finding(
                f"backend {info.name}",
                f"{' '.join(info.suffixes)} on {info.device}: {f'not usable, {reason}' if reason else 'usable'}",
                advice(info) if reason else "",
            )
        )
    return findings + _conflicts()


def _conflicts() -> list[Finding]:
    """Return what is installed side by side and must not be, and what the registry does not hold."""
    found = []
    if installed("onnxruntime") and installed("onnxruntime-gpu"):
        found.append(
            Finding(
                "conflict",
                "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
                "keep one: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
            )
        )
    if not installed("tensorrt"):
        found.append(
            Finding(
                "tensorrt",
                "its libraries come from NVIDIA's own package index, not from the public registry",
                "where only the public registry is reached, build with --target rtx (tensorrt-rtx)",
            )
        )
    return found
