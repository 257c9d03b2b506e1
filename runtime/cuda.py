"""The few calls of the CUDA runtime API that inference makes, through cuda-python, each one checked."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.errors import DeviceError, missing_package


def import_cuda(extra: str) -> ModuleType:
    """Return `cuda.bindings.runtime`; MissingPackageError, naming `extra`, when cuda-python is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise missing_package("cuda-python", extra, "running a TensorRT engine") from None
    module: ModuleType = runtime
    return module


def checked(result: tuple[Any, ...], what: str) -> Any:
    """Return what a CUDA call gave after its status; DeviceError, naming `what` was tried, when it failed."""
    status, *values = result
    if int(status) != 0:
        raise DeviceError(
            f"CUDA could not {what}: {status.name}; close other programs on the GPU or use a smaller --batch"
        )
    return values[0] if values else None


class Stream:
    """A CUDA stream with its copies; all work on it is in order."""

    def __init__(self, extra: str) -> None:
        self.cuda = import_cuda(extra)
        self.handle = checked(self.cuda.cudaStreamCreate(), "create a stream")

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes of device memory."""
        return int(checked(self.cuda.cudaMalloc(size), f"allocate {size / 1e6:.1f} MB"))

    def free(self, address: int) -> None:
        """Give device memory back."""
        checked(self.cuda.cudaFree(address), "free memory")

    def upload(self, address: int, values: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device."""
        kind = self.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        copy = self.cuda.cudaMemcpyAsync(address, values.ctypes.data, values.nbytes, kind, self.handle)
        checked(copy, "copy pictures to the GPU")

    def download(self, values: npt.NDArray[np.float32], address: int) -> None:
        """Copy from the device into a contiguous array, and wait until everything before it is done."""
        kind = self.cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        copy = self.cuda.cudaMemcpyAsync(values.ctypes.data, address, values.nbytes, kind, self.handle)
        checked(copy, "copy answers from the GPU")
        checked(self.cuda.cudaStreamSynchronize(self.handle), "finish a batch")

    def close(self) -> None:
        """Destroy the stream."""
        checked(self.cuda.cudaStreamDestroy(self.handle), "destroy a stream")
