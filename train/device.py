"""Batches on the device: carried there ahead of the step that trains on them, and losses read without a stall."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from alexnet.recipe import Precision
from alexnet.train.batches import Batch
from alexnet.train.device_views import finish_views

# Of malloc.h, for mallopt: how many blocks come from the kernel alone, and how much free memory goes back to it.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class DeviceBatch:
    """A batch where it is trained: `crops` float32 [n, 3, crop, crop] and `labels` int64 [n] on the device."""

    batch: Batch
    crops: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Carrier:
    """Carries batches to `device`, and finishes there the views that are still bytes (`finish`).

    On a GPU copy and arithmetic run on a stream of their own while the step before them trains.
    """

    device: torch.device
    mean: Tensor
    divisor: float
    finish: bool

    def carry(self, batches: Iterable[Batch]) -> Iterator[DeviceBatch]:
        """Yield the batches on the device, in their order, the next one already under way."""
        if self.device.type != "cuda":
            yield from map(self._move, batches)
            return
        stream = torch.cuda.Stream(self.device)
        ready: DeviceBatch | None = None
        for batch in batches:
            with torch.cuda.stream(stream):
                following = self._move(batch)
            if ready is not None:
                yield ready
            # The wait is queued only now: the step before it was queued without it.
            torch.cuda.current_stream(self.device).wait_stream(stream)
            for tensor in (following.crops, following.labels):
                tensor.record_stream(torch.cuda.current_stream(self.device))
            ready = following
        if ready is not None:
            yield ready

    def _move(self, batch: Batch) -> DeviceBatch:
        """Return one batch on the device."""
        crops = batch.crops.to(self.device, non_blocking=True)
        if self.finish:
            crops = finish_views(crops, batch.views, self.mean, self.divisor)
        return DeviceBatch(batch, crops.permute(0, 3, 1, 2), batch.labels.to(self.device, non_blocking=True))


def reading(value: Tensor) -> Callable[[], float]:
    """Return what reads a scalar as it is now, once it is asked for.

    On a GPU the copy is queued here and awaited there, so that work queued between the two keeps the device busy.
    """
    if value.device.type != "cuda":
        return value.item
    host = value.detach().to("cpu", non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(value.device))

    def read() -> float:
        copied.synchronize()
        return host.item()

    return read


def arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network's products are made in a recipe's precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@functools.cache
def keep_memory() -> None:
    """Have the C library keep what tensors leave, for all of this process, in place of giving it back to the kernel.

    The activations of a step are large blocks, which glibc otherwise takes from the kernel every time, and the kernel
    clears them page by page: training the full net on a CPU in bfloat16 takes a third longer so. Another library than
    glibc is left as it is.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
        library.mallopt(parameter, value)


def gpu_arithmetic(precision: Precision) -> None:
    """Let GPUs multiply float32 in float32, for all of this process; as TF32 only where a recipe says so.

    torch's own default takes TF32 for convolutions and not for matrices. cuDNN times its algorithms on the first batch
    of each shape, of which training has two: the batch, and the smaller last one of an epoch.
    """
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def tune_process(device: torch.device, precision: Precision) -> None:
    """Set what this process needs to compute fast and as its recipe says on `device`, until it ends."""
    if device.type == "cpu":
        keep_memory()
    else:
        gpu_arithmetic(precision)


def channels_last(network: nn.Module) -> None:
    """Lay a network's convolutions out channels last, as views are."""
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
