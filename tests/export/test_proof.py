from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from alexnet.errors import ParityError
from alexnet.export.expectation import metadata_of
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.proof import prove
from alexnet.export.source import Source
from alexnet.parity import ParityPack
from alexnet.train.evaluate import ten_crop_probabilities
from tests.export.conftest import random_pictures


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that ONNX Runtime is given, in order."""
    sizes: list[int] = []
    real = onnxruntime.InferenceSession

    class Watched:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            self.session = real(*arguments, **named)

        def run(self, outputs: list[str], feeds: dict[str, npt.NDArray[np.uint8]]) -> Any:
            sizes.append(len(feeds["pictures"]))
            return self.session.run(outputs, feeds)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    return sizes


def test_every_batch_size_is_run_and_none_is_larger_than_a_runs_samples(
    tiny_source: Source, batches: list[int]
) -> None:
    pictures = random_pictures(70)
    expected = ten_crop_probabilities(tiny_source.network, pictures, tiny_source.mean)
    model = onnx_model([tiny_source.numbers()], ExportOptions())
    pack = ParityPack(pictures, expected, [str(place) for place in range(70)], "c" * 64)
    assert prove(model, metadata_of([tiny_source], ExportOptions()), pack).comparison.pictures == 70
    assert batches == [1, 1, 2, 2, 7, 7, 32, 32, 6, 1]  # the last one for the layers


def test_a_fault_in_the_last_of_many_pictures_is_found(tiny_source: Source) -> None:
    pictures = random_pictures(40)
    expected = ten_crop_probabilities(tiny_source.network, pictures, tiny_source.mean)
    expected[39, 0] += 0.01
    model = onnx_model([tiny_source.numbers()], ExportOptions())
    pack = ParityPack(pictures, expected, [f"picture {place}" for place in range(40)], "c" * 64)
    with pytest.raises(ParityError, match=r"by 0\.01 in a probability of picture 39"):
        prove(model, metadata_of([tiny_source], ExportOptions()), pack)
