from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import numpy_helper

from alexnet.errors import ParityError
from alexnet.export.expectation import expected_pack, metadata_of
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions
from alexnet.export.proof import Proof, prove
from alexnet.export.source import Source
from alexnet.parity import ParityPack
from tests.export.conftest import random_pictures

OPTIONS = ExportOptions()


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


def proven(source: Source, number: int, **switches: Any) -> Proof:
    options = ExportOptions(**switches)
    model = onnx_model([source.numbers()], options)
    return prove(model, metadata_of([source], options), pack_of(source, number, options))


def pack_of(source: Source, number: int, options: ExportOptions | None = None) -> ParityPack:
    names = [f"picture {place}" for place in range(number)]
    return expected_pack([source], random_pictures(number), names, options or ExportOptions())


def test_every_batch_size_is_run_and_none_is_larger_than_a_runs_samples(
    tiny_source: Source, batches: list[int]
) -> None:
    proof = proven(tiny_source, 70)
    assert batches == [1, 1, 2, 2, 7, 7, 32, 32, 6, 1]  # the last one for the layers
    assert {batch: result.pictures for batch, result in proof.batches.items()} == {1: 2, 2: 4, 7: 14, 32: 70}
    assert proof.comparison.pictures == 70
    assert proof.comparison.largest == max(result.largest for result in proof.batches.values())
    assert proof.comparison.largest == max(proof.differences.values())
    assert proof.to_values()["batches"]["7"]["pictures"] == 14


def test_a_fixed_batch_is_run_at_that_size_only_and_the_last_one_filled_up(
    tiny_source: Source, batches: list[int]
) -> None:
    proof = proven(tiny_source, 9, batch=4)
    assert batches == [4, 4, 4, 4]
    assert list(proof.batches) == [4]
    assert proof.comparison.pictures == 9
    assert (proof.layers.first, proof.layers.lacking) == (None, ())


@pytest.mark.parametrize(
    ("switches", "lacking"),
    [
        ({"crops": "one"}, 0),
        ({"crops": "one", "batch": 2}, 0),
        ({"input": "float"}, 0),
        ({"stem": "shared"}, 3),
        ({"stem": "shared", "batch": 3}, 3),
        ({"stem": "shared", "input": "float", "lrn": "native"}, 3),
    ],
)
def test_every_form_of_the_graph_is_compared_layer_by_layer(
    tiny_source: Source, switches: dict[str, Any], lacking: int
) -> None:
    layers = proven(tiny_source, 5, **switches).layers
    assert (layers.first, len(layers.lacking), len(layers.rows)) == (None, lacking, 21 - lacking)
    assert layers.rows[0].name == ("lrn1" if lacking else "crops")


def test_a_fault_in_the_last_of_many_pictures_is_found(tiny_source: Source) -> None:
    pack = pack_of(tiny_source, 40)
    pack.probabilities[39, 0] += 0.01
    with pytest.raises(ParityError, match=r"by 0\.01 in a probability of picture 39.*all 21 layers .* agree"):
        prove(onnx_model([tiny_source.numbers()], OPTIONS), metadata_of([tiny_source], OPTIONS), pack)


def test_a_layer_that_differs_fails_a_model_whose_answers_hold(tiny_source: Source) -> None:
    pack, model = pack_of(tiny_source, 2), onnx_model([tiny_source.numbers()], OPTIONS)
    # A network that answers nothing but its last bias: no fault below it can show in its probabilities.
    for name in ("fc8.weight", "conv1.bias"):
        (entry,) = (entry for entry in model.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) * np.float32(0), name))
    answers = np.exp(tiny_source.numbers().weights["fc8.bias"])
    probabilities = np.tile(answers / answers.sum(), (2, 1)).astype(np.float32)
    message = r"probabilities are within .* but the first layer that differs is conv1, "
    with pytest.raises(ParityError, match=message):
        prove(model, metadata_of([tiny_source], OPTIONS), replace(pack, probabilities=probabilities))
