"""What the TensorRT backend does around an engine, with small stand-ins for the engine, its context and the stream."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.errors import DeviceError, MissingPackageError, SidecarError
from alexnet.runtime import cuda
from alexnet.runtime.backends.tensorrt import TensorRTEngine, check_tensors
from alexnet.sidecar import Profile, Sidecar
from tests.runtime.backends.test_tensorrt import write_plan
from tests.runtime.conftest import SIDE, expected

Pixels = npt.NDArray[np.uint8]
KINDS = SimpleNamespace(UINT8=SimpleNamespace(name="UINT8"), FLOAT=SimpleNamespace(name="FLOAT"))
TRT = SimpleNamespace(DataType=KINDS)


class Tensors:
    """The engine's answers to questions about its tensors."""

    def __init__(self, tensors: dict[str, tuple[Any, tuple[int, ...]]]) -> None:
        self.tensors = tensors
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, place: int) -> str:
        return list(self.tensors)[place]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensors[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][1]


SOUND = {"pictures": (KINDS.UINT8, (-1, SIDE, SIDE, 3)), "probabilities": (KINDS.FLOAT, (-1, 3))}


def test_an_engine_must_take_and_give_what_its_sidecar_says(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    sidecar = Sidecar.load(plan)
    check_tensors(TRT, Tensors(SOUND), sidecar, plan)
    for change in (
        {"pictures": (KINDS.FLOAT, (-1, SIDE, SIDE, 3))},
        {"pictures": (KINDS.UINT8, (-1, SIDE + 1, SIDE, 3))},
        {"probabilities": (KINDS.FLOAT, (-1, 1000))},
        {"more": (KINDS.FLOAT, (1,))},
    ):
        with pytest.raises(SidecarError, match=r"says pictures UINT8 \[-1, 24, 24, 3\], probabilities FLOAT"):
            check_tensors(TRT, Tensors({**SOUND, **change}), sidecar, plan)
    with pytest.raises(SidecarError, match="its sidecar says images UINT8"):
        check_tensors(TRT, Tensors(SOUND), replace(sidecar, input_name="images"), plan)


class Device:
    """A context and a stream in one, which computes the formula and remembers the batches it was given."""

    def __init__(self, takes: bool = True, runs: bool = True) -> None:
        self.batches: list[int] = []
        self.handle = 7
        self.takes, self.runs = takes, runs

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return self.takes

    def upload(self, address: int, values: Pixels) -> None:
        assert values.flags.c_contiguous
        assert values.shape == self.shape
        self.values = values.copy()

    def execute_async_v3(self, handle: int) -> bool:
        assert handle == self.handle
        self.batches.append(len(self.values))
        return self.runs

    def download(self, values: npt.NDArray[np.float32], address: int) -> None:
        values[:] = expected(self.values)


def engine(folder: Path, profile: Profile, device: Device) -> TensorRTEngine:
    made = TensorRTEngine.__new__(TensorRTEngine)
    made.sidecar = replace(Sidecar.load(write_plan(folder)), profile=profile)
    made.metadata = made.sidecar.metadata
    made.context, made.stream = device, device  # type: ignore[assignment]
    made.pictures_address, made.answers_address = 1, 2
    made.log = SimpleNamespace(last=lambda: "a reason")
    return made


def pictures(number: int) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("number", "batches"), [(1, [3]), (3, [3]), (4, [4]), (8, [4, 4]), (9, [4, 4, 3]), (11, [4, 4, 3])]
)
def test_batches_stay_within_the_profile(tmp_path: Path, number: int, batches: list[int]) -> None:
    device = Device()
    found = engine(tmp_path, Profile(3, 4, 4), device).probabilities(pictures(number))
    assert device.batches == batches
    assert np.array_equal(found, expected(pictures(number)))


def test_pictures_that_do_not_lie_in_a_row_are_copied_into_one(tmp_path: Path) -> None:
    every_second = pictures(8)[::2]
    found = engine(tmp_path, Profile(1, 4, 4), Device()).probabilities(every_second)
    assert np.array_equal(found, expected(every_second))


@pytest.mark.parametrize(
    ("device", "words"), [(Device(takes=False), "refuses 2 pictures"), (Device(runs=False), "could not run 2 pictures")]
)
def test_what_tensorrt_refuses_is_a_device_error_with_its_reason(tmp_path: Path, device: Device, words: str) -> None:
    with pytest.raises(DeviceError, match=rf"{words}.*\(a reason\)"):
        engine(tmp_path, Profile(1, 4, 4), device).probabilities(pictures(2))


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2


def test_cuda_failures_name_what_was_tried() -> None:
    assert cuda.checked((Status.cudaSuccess, 99), "allocate 1 MB") == 99
    assert cuda.checked((Status.cudaSuccess,), "free memory") is None
    with pytest.raises(DeviceError, match="CUDA could not allocate 1 MB: cudaErrorMemoryAllocation"):
        cuda.checked((Status.cudaErrorMemoryAllocation, None), "allocate 1 MB")


@pytest.mark.parametrize("extra", ["gpu", "rtx"])
def test_without_cuda_python_the_plans_own_extra_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingPackageError, match=rf"cuda-python, which is not installed.*\[{extra}\]"):
        cuda.import_cuda(extra)


def test_every_call_made_exists_in_the_installed_tensorrt_and_cuda() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    runtime = pytest.importorskip("cuda.bindings.runtime")
    for owner, names in (
        (trt, "DataType ILogger Runtime __version__"),
        (trt.Runtime, "deserialize_cuda_engine engine_host_code_allowed"),
        (trt.ICudaEngine, "create_execution_context get_tensor_name get_tensor_dtype get_tensor_shape num_io_tensors"),
        (trt.IExecutionContext, "set_tensor_address set_input_shape execute_async_v3"),
        (runtime, "cudaMalloc cudaFree cudaMemcpyAsync cudaMemcpyKind cudaStreamCreate cudaStreamSynchronize"),
        (runtime, "cudaStreamDestroy"),
    ):
        assert [name for name in names.split() if not hasattr(owner, name)] == []
