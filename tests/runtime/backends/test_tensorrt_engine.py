"""What the TensorRT backend does around an engine: the CUDA runtime and TensorRT are small stand-ins that compute.

The stand-in for CUDA keeps real memory, runs work in order, and records and replays graphs, so that a copy that is
forgotten, or a graph of another size, gives wrong answers here too.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet.errors import DeviceError, MissingPackageError, SidecarError
from alexnet.gpu import Gpu
from alexnet.runtime import cuda
from alexnet.runtime.backends import OutOfMemory, tensorrt
from alexnet.runtime.backends.tensorrt import Plan, TensorRTEngine, check_tensors
from alexnet.sidecar import Profile
from tests.runtime.conftest import SIDE, expected, metadata

Pixels = npt.NDArray[np.uint8]
KINDS = SimpleNamespace(UINT8=SimpleNamespace(name="UINT8"), FLOAT=SimpleNamespace(name="FLOAT"))
GPU = Gpu("NVIDIA H200", "9.0", "13.0")
PICTURE = SIDE * SIDE * 3


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


class Cuda:
    """The CUDA runtime in host memory."""

    cudaStreamNonBlocking, cudaEventBlockingSync, cudaEventDisableTiming = 1, 1, 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, room: int = 1 << 30, captures: bool = True) -> None:
        self.room, self.captures = room, captures
        self.memory: dict[int, Any] = {}
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.alive = 0

    def work(self, stream: int, task: Callable[[], None]) -> None:
        (self.recording[stream].append if stream in self.recording else lambda task: task())(task)

    def cudaMalloc(self, size: int) -> tuple[Status, int]:
        if size > self.room:
            return Status.cudaErrorMemoryAllocation, 0
        self.room -= size
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return Status.cudaSuccess, ctypes.addressof(buffer)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[Status]:
        self.room += len(self.memory.pop(address))
        return (Status.cudaSuccess,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Status]:
        self.work(stream, lambda: ctypes.memmove(to, source, size) and None)
        return (Status.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, int]:
        self.alive += 1
        return Status.cudaSuccess, 100 + self.alive

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Status]:
        if not self.captures:
            return (Status.cudaErrorStreamCaptureUnsupported,)
        self.recording[stream] = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Status, Any]:
        if stream not in self.recording:
            return Status.cudaErrorStreamCaptureUnsupported, None
        return Status.cudaSuccess, self.recording.pop(stream)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Status, Any]:
        return Status.cudaSuccess, list(graph)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[Status]:
        self.launches += 1
        for task in graph:
            task()
        return (Status.cudaSuccess,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Status]:
        self.alive -= 1
        return (Status.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Status, int]:
        return Status.cudaSuccess, 5

    def __getattr__(self, name: str) -> Any:
        if name in ("cudaSetDevice", "cudaEventRecord", "cudaEventSynchronize", "cudaEventDestroy", "cudaGraphDestroy"):
            return lambda *arguments: (Status.cudaSuccess,)
        if name == "cudaGraphExecDestroy":
            return lambda graph: (Status.cudaSuccess,)
        raise AttributeError(name)


class Context:
    """A context that computes the formula over device memory and remembers the batches it was given."""

    takes = runs = True

    def __init__(self, device: Cuda, batches: list[int]) -> None:
        self.device, self.batches, self.addresses = device, batches, {}

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert shape[1:] == (SIDE, SIDE, 3)
        self.number = shape[0]
        return self.takes

    def execute_async_v3(self, stream: int) -> bool:
        self.device.work(stream, lambda number=self.number: self.compute(number))
        return self.runs

    def compute(self, number: int) -> None:
        self.batches.append(number)
        pictures = np.frombuffer(ctypes.string_at(self.addresses["pictures"], number * PICTURE), dtype=np.uint8)
        answers = expected(pictures.reshape(number, SIDE, SIDE, 3))
        ctypes.memmove(self.addresses["probabilities"], answers.tobytes(), answers.nbytes)


SOUND = {"pictures": (KINDS.UINT8, (-1, SIDE, SIDE, 3)), "probabilities": (KINDS.FLOAT, (-1, 3))}


class Engine:
    """The engine's answers to questions about its tensors."""

    def __init__(self, make: Callable[[], Any] = lambda: None, tensors: dict[str, Any] = SOUND) -> None:
        self.create_execution_context, self.tensors, self.num_io_tensors = make, tensors, len(tensors)

    def get_tensor_name(self, place: int) -> str:
        return list(self.tensors)[place]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensors[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.tensors[name][1]
        return shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(batch, SIDE, SIDE, 3) for batch in (2, 3, 5)]


def plan_of(path: Path, profile: Profile | None, **facts: object) -> Plan:
    path.write_bytes(b"a plan")
    return Plan(path, "tensorrt", metadata(**facts), "fp32", "pictures", "probabilities", profile, "model.onnx")


class Machine:
    """A GPU with TensorRT, and an engine opened on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: Cuda | None = None, contexts: int = 9) -> None:
        self.device, self.batches, self.left = device or Cuda(), [], contexts
        monkeypatch.setattr(cuda, "import_cuda", lambda extra: self.device)
        log = SimpleNamespace(last=lambda: "a reason")
        monkeypatch.setattr(tensorrt, "tensorrt_log", lambda trt: log)

    def context(self) -> Context | None:
        self.left -= 1
        return Context(self.device, self.batches) if self.left >= 0 else None

    def open(self, plan: Plan) -> TensorRTEngine:
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: Engine(self.context))
        return TensorRTEngine(SimpleNamespace(DataType=KINDS, Runtime=lambda log: runtime), plan, GPU)  # type: ignore[arg-type]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def pictures(number: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("number", "batches"), [(1, [3]), (3, [3]), (4, [4]), (8, [4, 4]), (9, [4, 4, 3]), (11, [4, 4, 3])]
)
def test_batches_stay_within_the_profile(tmp_path: Path, machine: Machine, number: int, batches: list[int]) -> None:
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(3, 4, 4)))
    assert np.array_equal(engine.probabilities(pictures(number)), expected(pictures(number)))
    assert machine.batches == batches
    assert (engine.name, engine.device, engine.precision, engine.largest_batch) == ("tensorrt", GPU.name, "fp32", 4)


def test_a_size_that_comes_again_is_launched_as_a_graph_and_another_discards_it(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "IN_FLIGHT", 1)
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    launches = []
    for seed, number in enumerate((4, 4, 4, 2, 2, 4, 4)):
        batch = pictures(number, seed)
        assert np.array_equal(engine.probabilities(batch), expected(batch))
        launches.append(machine.device.launches)
    assert launches == [0, 1, 2, 2, 3, 3, 4]
    assert machine.batches == [4, 4, 4, 2, 2, 4, 4]


@pytest.mark.parametrize("where", ["cuda", "tensorrt"])
def test_what_cannot_be_recorded_runs_without_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    machine = Machine(monkeypatch, Cuda(captures=where != "cuda"))
    if where == "tensorrt":
        monkeypatch.setattr(Context, "is_stream_capturable", lambda self, stream: False, raising=False)
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    for seed in range(4):
        assert np.array_equal(engine.probabilities(pictures(4, seed)), expected(pictures(4, seed)))
    assert machine.device.launches == 0


def test_two_batches_are_in_flight_and_a_third_waits(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    assert engine.in_flight == 2
    both = threading.Barrier(2, timeout=10)
    compute = Context.compute

    def meeting(self: Context, number: int) -> None:
        if number == 4:
            both.wait()
        compute(self, number)

    monkeypatch.setattr(Context, "compute", meeting)
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: engine.probabilities(pictures(4, seed))}))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert all(np.array_equal(found[seed], expected(pictures(4, seed))) for seed in range(4))


def test_the_parts_of_a_batch_are_timed_one_after_another_and_the_slot_comes_back(
    tmp_path: Path, machine: Machine
) -> None:
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(2, 4, 4)))
    for _ in range(2 * tensorrt.IN_FLIGHT):
        parts = engine.stages(pictures(3))
        assert len(parts) == 3
        assert all(seconds > 0 for seconds in parts)
    assert machine.batches == [3] * 4 * tensorrt.IN_FLIGHT
    assert np.array_equal(engine.probabilities(pictures(3, seed=1)), expected(pictures(3, seed=1)))


def test_closing_gives_back_all_that_was_taken(tmp_path: Path, machine: Machine) -> None:
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    for _ in range(3):
        engine.probabilities(pictures(4))
    assert machine.device.memory
    engine.close()
    assert machine.device.memory == {}
    assert machine.device.alive == 0


def test_where_room_is_for_one_slot_one_batch_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Machine(monkeypatch, contexts=1).open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    assert engine.in_flight == 1
    assert np.array_equal(engine.probabilities(pictures(3)), expected(pictures(3)))


@pytest.mark.parametrize(("room", "contexts"), [(1 << 30, 0), (100, 9)])
def test_where_there_is_no_room_at_all_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, contexts: int
) -> None:
    machine = Machine(monkeypatch, Cuda(room), contexts)
    with pytest.raises(OutOfMemory, match=r"finds no room on the GPU \(a reason\)|could not lock"):
        machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))


def test_a_plan_without_a_sidecar_has_the_profile_of_its_engine(tmp_path: Path, machine: Machine) -> None:
    engine = machine.open(plan_of(tmp_path / "m.engine", None))
    assert engine.profile == Profile(2, 3, 5)
    assert np.array_equal(engine.probabilities(pictures(6)), expected(pictures(6)))
    assert machine.batches == [5, 2]


def test_an_engine_must_take_and_give_what_is_known_of_it(tmp_path: Path) -> None:
    trt = SimpleNamespace(DataType=KINDS)
    plan = plan_of(tmp_path / "m.plan", Profile(1, 4, 4))
    check_tensors(trt, Engine(), plan)
    for change in (
        {"pictures": (KINDS.FLOAT, (-1, SIDE, SIDE, 3))},
        {"pictures": (KINDS.UINT8, (-1, SIDE + 1, SIDE, 3))},
        {"probabilities": (KINDS.FLOAT, (-1, 1000))},
        {"more": (KINDS.FLOAT, (1,))},
    ):
        with pytest.raises(SidecarError, match=r"its sidecar says pictures UINT8 \[-1, 24, 24, 3\], probabilities FLO"):
            check_tensors(trt, Engine(tensors={**SOUND, **change}), plan)
    with pytest.raises(SidecarError, match=r"model.onnx says pictures FLOAT \[2, 3, 24, 24\]"):
        check_tensors(trt, Engine(), plan_of(tmp_path / "m.plan", None, input="float", batch=2))


@pytest.mark.parametrize(("what", "words"), [("takes", "refuses 2 pictures"), ("runs", "could not run 2 pictures")])
def test_what_tensorrt_refuses_is_a_device_error_with_its_reason(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    monkeypatch.setattr(Context, what, False)
    engine = machine.open(plan_of(tmp_path / "m.plan", Profile(1, 4, 4)))
    with pytest.raises(DeviceError, match=rf"{words}.*\(a reason\)"):
        engine.probabilities(pictures(2))


def test_cuda_failures_name_what_was_tried() -> None:
    assert cuda.checked((Status.cudaSuccess, 99), "allocate 1 MB") == 99
    assert cuda.checked((Status.cudaSuccess,), "free memory") is None
    with pytest.raises(OutOfMemory, match="CUDA could not allocate 1 MB: cudaErrorMemoryAllocation"):
        cuda.checked((Status.cudaErrorMemoryAllocation, None), "allocate 1 MB")
    with pytest.raises(DeviceError, match="cudaErrorStreamCaptureUnsupported"):
        cuda.checked((Status.cudaErrorStreamCaptureUnsupported, None), "begin a CUDA graph")


@pytest.mark.parametrize("extra", ["gpu", "rtx"])
def test_without_cuda_python_the_plans_own_extra_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingPackageError, match=rf"cuda-python, which is not installed.*\[{extra}\]"):
        cuda.import_cuda(extra)


def test_every_call_made_exists_in_the_installed_tensorrt_and_cuda() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    runtime = pytest.importorskip("cuda.bindings.runtime")
    calls = [name for name in dir(Cuda) if name.startswith("cuda")]
    events = "cudaSetDevice cudaEventRecord cudaEventSynchronize cudaEventDestroy"
    for owner, names in (
        (trt, "DataType ILogger Runtime __version__"),
        (trt.Runtime, "deserialize_cuda_engine engine_host_code_allowed"),
        (trt.ICudaEngine, "create_execution_context get_tensor_name get_tensor_dtype get_tensor_shape num_io_tensors"),
        (trt.ICudaEngine, "get_tensor_profile_shape"),
        (trt.IExecutionContext, "set_tensor_address set_input_shape execute_async_v3 is_stream_capturable"),
        (runtime, " ".join(calls)),
        (runtime, events),
        (runtime, "cudaGraphDestroy cudaGraphExecDestroy"),
    ):
        assert [name for name in names.split() if not hasattr(owner, name)] == []
    assert runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal == 1
    assert int(runtime.cudaError_t.cudaErrorMemoryAllocation) == 2
