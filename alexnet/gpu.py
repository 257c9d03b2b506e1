"""Whether an NVIDIA GPU is here, asked of the driver alone: no framework is imported and none is needed.

TensorRT must not be asked first: without a driver, deserialising an engine may end the process.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

# CUdevice_attribute of the CUDA driver API: the compute capability's two numbers.
_MAJOR, _MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver names it; `capability` such as "8.9", `driver` the CUDA version it serves."""

    name: str
    capability: str
    driver: str


@dataclass(frozen=True)
class GpuSearch:
    """The GPUs found, or none and the reason in words."""

    gpus: tuple[Gpu, ...]
    reason: str


def find_gpus() -> GpuSearch:
    """Return the GPUs of this machine by the CUDA driver API (cuInit, cuDeviceGet, cuDeviceGetAttribute)."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return GpuSearch((), f"no NVIDIA driver is installed ({library} was not found)")
    if status := cuda.cuInit(0):
        return GpuSearch((), f"the NVIDIA driver found no usable GPU (cuInit returned {status})")
    number, version = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if cuda.cuDeviceGetCount(ctypes.byref(number)) or number.value == 0:
        return GpuSearch((), "the NVIDIA driver is installed but sees no GPU")
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    gpus = tuple(_gpu(cuda, place, driver) for place in range(number.value))
    return GpuSearch(gpus, f"{len(gpus)} NVIDIA GPU(s), the first is {gpus[0].name}")


def _gpu(cuda: ctypes.CDLL, place: int, driver: str) -> Gpu:
    """Return what the driver says of the GPU number `place`."""
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), place)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, place)
        numbers.append(value.value)
    return Gpu(name.value.decode(errors="replace"), f"{numbers[0]}.{numbers[1]}", driver)
