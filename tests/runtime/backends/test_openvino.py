from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from alexnet.errors import DeviceError, ModelError
from alexnet.runtime.backends import BackendOptions, open_backend
from tests.runtime.conftest import SIDE, colour_model, expected, metadata

ov = pytest.importorskip("openvino")
PICTURES = np.random.default_rng(3).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)


def opened(path: Path, **options: object) -> object:
    return open_backend(path, BackendOptions(name="openvino-cpu", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("number", [1, 2, 9])
def test_streams_share_the_pictures_and_keep_their_order(model: Path, hint: str, number: int) -> None:
    backend = opened(model, hint=hint, threads=2)
    assert np.abs(backend.probabilities(PICTURES[:number]) - expected(PICTURES[:number])).max() < 1e-6  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_the_cpu_lacks_is_refused(model: Path, precision: str) -> None:
    if precision.upper() in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert opened(model, precision=precision).precision == precision  # type: ignore[attr-defined]
    else:
        with pytest.raises(DeviceError, match=f"has no {precision} arithmetic"):
            opened(model, precision=precision)


def test_a_model_of_reduced_precision_says_what_computes_it(tmp_path: Path) -> None:
    has = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    backend = opened(colour_model(tmp_path / "m.onnx", metadata(precision="bf16")))
    assert backend.precision == ("bf16" if has else "fp32")  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_quantised_model_is_in_what_its_nodes_say(tmp_path: Path, precision: str) -> None:
    model = colour_model(tmp_path / "m.onnx", metadata(precision=precision))
    assert opened(model).precision == precision  # type: ignore[attr-defined]
    assert opened(model, precision="fp32").precision == precision  # type: ignore[attr-defined]


def test_a_graph_that_cannot_be_converted_names_the_other_backend(tmp_path: Path) -> None:
    import onnx

    path = colour_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[2].op_type = "Wobble"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"OpenVINO .* refuses .*--backend onnxruntime-cpu"):
        opened(path)


def test_what_was_compiled_is_kept_where_asked(model: Path, tmp_path: Path) -> None:
    for _ in range(2):
        opened(model, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.blob"))


def test_another_model_under_the_same_name_size_and_time_is_compiled_anew(tmp_path: Path) -> None:
    path, pictures = tmp_path / "m.onnx", PICTURES[:2]
    answers = []
    for gain in (0.01, 0.06):
        colour_model(path, gain=gain)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        answers.append([opened(path, cache=tmp_path / "cache").probabilities(pictures) for _ in range(2)])
    assert all(np.array_equal(*pair) for pair in answers)
    assert not np.allclose(answers[0][0], answers[1][0])
