"""The few calls of the CUDA runtime API that inference makes, through cuda-python, each one checked."""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.errors import DeviceError, missing_package
from alexnet.runtime.backends.interface import OutOfMemory

# cudaErrorMemoryAllocation
_NO_MEMORY = 2


def import_cuda(extra: str) -> ModuleType:
    """Return `cuda.bindings.runtime`; MissingPackageError, naming `extra`, when cuda-python is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise missing_package("cuda-python", extra, "running a TensorRT engine") from None
    module: ModuleType = runtime
    return module


def checked(result: tuple[Any, ...], what: str) -> Any:
    """Return what a CUDA call gave after its status; DeviceError, naming `what` was tried, when it failed.

    OutOfMemory, which is a DeviceError too, when it failed for want of memory.
    """
    status, *values = result
    if int(status) != 0:
        kind = OutOfMemory if int(status) == _NO_MEMORY else DeviceError
        raise kind(f"CUDA could not {what}: {status.name}; close other programs on the GPU or use a smaller --batch")
    return values[0] if values else None


class Stream:
    """A CUDA stream with its memory and copies; all work on it is in order, and an event tells when it is done."""

    def __init__(self, extra: str, gpu: int = 0) -> None:
        self.cuda, self.gpu = import_cuda(extra), gpu
        self.use()
        self.handle = checked(self.cuda.cudaStreamCreateWithFlags(self.cuda.cudaStreamNonBlocking), "create a stream")
        # The waiting thread sleeps, so that decoding has the core.
        flags = self.cuda.cudaEventBlockingSync | self.cuda.cudaEventDisableTiming
        self.event = checked(self.cuda.cudaEventCreateWithFlags(flags), "create an event")

    def use(self) -> None:
        """Make the stream's GPU that of this thread: CUDA keeps the choice by thread."""
        checked(self.cuda.cudaSetDevice(self.gpu), f"use GPU {self.gpu}")

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes of device memory."""
        return int(checked(self.cuda.cudaMalloc(size), f"allocate {size / 1e6:.1f} MB"))

    def free(self, address: int) -> None:
        """Give device memory back."""
        checked(self.cuda.cudaFree(address), "free memory")

    def pinned(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array in page-locked host memory, which is copied without the CPU while other work goes on."""
        whole = np.dtype(kind)
        size = int(np.prod(shape)) * whole.itemsize
        address = int(checked(self.cuda.cudaMallocHost(size), f"lock {size / 1e6:.1f} MB of host memory"))
        memory: Any = (ctypes.c_byte * size).from_address(address)
        values: npt.NDArray[Any] = np.ndarray(shape, whole, buffer=memory)
        return values

    def unpin(self, values: npt.NDArray[Any]) -> None:
        """Give page-locked memory back; the array must not be used again."""
        checked(self.cuda.cudaFreeHost(values.ctypes.data), "free host memory")

    def upload(self, address: int, values: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device, without waiting."""
        kind = self.cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        copy = self.cuda.cudaMemcpyAsync(address, values.ctypes.data, values.nbytes, kind, self.handle)
        checked(copy, "copy pictures to the GPU")

    def download(self, values: npt.NDArray[Any], address: int) -> None:
        """Copy from the device into a contiguous array, without waiting."""
        kind = self.cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        copy = self.cuda.cudaMemcpyAsync(values.ctypes.data, address, values.nbytes, kind, self.handle)
        checked(copy, "copy answers from the GPU")

    def wait(self) -> None:
        """Wait until all work so far is done."""
        checked(self.cuda.cudaEventRecord(self.event, self.handle), "record an event")
        checked(self.cuda.cudaEventSynchronize(self.event), "finish a batch")

    def begin_capture(self) -> None:
        """Record the work that follows instead of doing it; the work of other threads is not concerned."""
        mode = self.cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(self.cuda.cudaStreamBeginCapture(self.handle, mode), "begin a CUDA graph")

    def end_capture(self) -> Any:
        """Return what was recorded as an executable CUDA graph."""
        graph = checked(self.cuda.cudaStreamEndCapture(self.handle), "end a CUDA graph")
        try:
            return checked(self.cuda.cudaGraphInstantiate(graph, 0), "make a CUDA graph")
        finally:
            checked(self.cuda.cudaGraphDestroy(graph), "free a CUDA graph")

    def launch(self, graph: Any) -> None:
        """Do the work of an executable graph, without waiting."""
        checked(self.cuda.cudaGraphLaunch(graph, self.handle), "launch a CUDA graph")

    def free_graph(self, graph: Any) -> None:
        """Destroy an executable graph."""
        checked(self.cuda.cudaGraphExecDestroy(graph), "free a CUDA graph")

    def close(self) -> None:
        """Destroy the event and the stream."""
        checked(self.cuda.cudaEventDestroy(self.event), "destroy an event")
        checked(self.cuda.cudaStreamDestroy(self.handle), "destroy a stream")
