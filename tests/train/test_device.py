from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alexnet.pictures import Preprocessing
from alexnet.recipe import Recipe
from alexnet.train.batches import Batch, Batches
from alexnet.train.data.folder import load_part
from alexnet.train.data.statistics import measure_statistics
from alexnet.train.device import Carrier, gpu_arithmetic, reading


@pytest.fixture
def sources(tiny_data: Path, tiny_recipe: Recipe) -> tuple[Batches, Batches]:
    """The same batches with views rendered by numpy, and left to the device."""
    part = load_part(tiny_data, "train", Preprocessing(72))
    statistics = measure_statistics(part.pictures, "image")
    return Batches(part, statistics, tiny_recipe), Batches(part, statistics, tiny_recipe, on_device=True)


def carried_equals(sources: tuple[Batches, Batches], device: torch.device) -> None:
    rendered, raw = sources
    mean = torch.from_numpy(raw.statistics.mean).to(device)
    carrier = Carrier(device, mean, 1.0, finish=True)
    expected = list(rendered.epoch(0, 1))
    found = list(carrier.carry(raw.epoch(0, 1)))
    assert [item.batch.number for item in found] == [batch.number for batch in expected] == [1, 2]
    for item, batch in zip(found, expected, strict=True):
        assert item.crops.device.type == device.type
        assert torch.equal(item.labels.cpu(), batch.labels)
        assert torch.allclose(item.crops.cpu(), batch.crops.permute(0, 3, 1, 2), rtol=0, atol=1e-4)


def test_batches_are_carried_in_order_with_finished_views(sources: tuple[Batches, Batches]) -> None:
    carried_equals(sources, torch.device("cpu"))


def test_no_batch_is_drawn_before_it_is_asked_for_on_a_cpu(sources: tuple[Batches, Batches]) -> None:
    drawn: list[int] = []

    def batches() -> Iterator[Batch]:
        for batch in sources[0].epoch(0, 0):
            drawn.append(batch.number)
            yield batch

    carrier = Carrier(torch.device("cpu"), torch.zeros(72, 72, 3), 1.0, finish=False)
    next(carrier.carry(batches()))
    assert drawn == [0]


@pytest.mark.gpu
def test_batches_are_carried_in_order_on_a_stream_of_their_own(sources: tuple[Batches, Batches]) -> None:
    carried_equals(sources, torch.device("cuda"))


@pytest.mark.gpu
def test_a_reading_is_of_the_moment_it_was_taken_on_the_gpu() -> None:
    value = torch.tensor(2.5, device="cuda")
    read = reading(value)
    value.add_(1)
    assert read() == 2.5


def test_a_reading_gives_the_scalar() -> None:
    assert reading(torch.tensor(2.5))() == 2.5


def test_float32_is_float32_on_a_gpu_unless_a_recipe_says_tf32() -> None:
    for precision, tf32 in (("tf32", True), ("fp32", False), ("bf16", False)):
        gpu_arithmetic(precision)
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        assert torch.backends.cudnn.benchmark


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_tensors_leave_is_not_cleared_again() -> None:
    # In a process of its own: the setting is for good.
    program = """
import ctypes, resource
from alexnet.train.device import keep_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(library.malloc(ctypes.c_size_t(1 << 28)))
    ctypes.memset(block, 1, 1 << 28)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = [faults(), faults()]
keep_memory()
print(*usual, faults(), faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    *before, first, again = map(int, done.stdout.split())
    assert min(before) > 100, "this kernel's pages are huge: the test shows nothing"
    assert again < first // 10
