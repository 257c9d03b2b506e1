from __future__ import annotations

from pathlib import Path

from alexnet.runtime.benchmark.results import EndToEnd, Row, Stages, best_row, infer_command
from alexnet.runtime.benchmark.timing import Latency, Spread

LATENCY = Latency(5, 0.1, 0.1, 0.1, 0.1, 0.1)


def row(batch: int, rate: float | None, backend: str = "onnxruntime-cpu") -> Row:
    found = Row(Path("model.onnx"), backend, batch)
    if rate is not None:
        found.latency, found.throughput = LATENCY, Spread(rate, rate, rate)
    return found


def test_the_best_batch_has_the_highest_throughput() -> None:
    best = best_row([row(1, 10), row(2, 18), row(4, 25), row(8, 21)])
    assert best is not None
    assert best.batch == 4


def test_a_smaller_batch_that_is_as_good_is_preferred() -> None:
    best = best_row([row(1, 10), row(2, 24.8), row(4, 25), row(8, 25.1)])
    assert best is not None
    assert best.batch == 2


def test_among_backends_of_one_batch_the_faster_is_best() -> None:
    best = best_row([row(4, 25), row(4, 25.2, "openvino-cpu")])
    assert best is not None
    assert best.backend == "openvino-cpu"


def test_rows_that_failed_are_never_best() -> None:
    best = best_row([row(1, None), row(2, 3)])
    assert best is not None
    assert best.batch == 2
    assert best_row([row(1, None)]) is None


def test_the_command_is_quoted_for_a_shell() -> None:
    found = Row(Path("my models/a b.onnx"), "openvino-cpu", 4)
    assert infer_command(found, Path("it's"), ["--threads", "2"]) == (
        "alexnet infer --engine 'my models/a b.onnx' --backend openvino-cpu --batch 4 --threads 2 'it'\"'\"'s'"
    )


def test_a_bound_is_named_only_from_half_of_a_limit_on() -> None:
    found = row(1, 5)
    assert found.bound == ""
    found.shares = {"arithmetic": 0.3, "memory traffic": 0.4}
    assert found.bound == ""
    found.shares["memory traffic"] = 0.62
    assert found.bound == "memory traffic 62%"


def test_transfers_bind_where_they_take_longer_than_the_model() -> None:
    found = row(1, 5)
    found.stages = Stages(upload=0.2, model=0.1, download=0.05)
    assert found.bound == "transfers"
    assert found.to_values()["stages"] == {"upload_ms": 200.0, "model_ms": 100.0, "download_ms": 50.0}


def test_files_to_answers_are_bound_by_the_slower_part() -> None:
    slow, fast = Spread(1, 1, 1), Spread(9, 9, 9)
    assert EndToEnd(Path("m"), "b", 1, slow, fast, slow, slow).bound == "decoding"
    assert EndToEnd(Path("m"), "b", 1, fast, slow, slow, slow).bound == "inference"
