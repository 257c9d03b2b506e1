from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from alexnet.errors import ParityError
from alexnet.export.graph import onnx_model
from alexnet.export.onnx_from_run import Source
from alexnet.export.options import ExportOptions
from alexnet.export.proof import prove
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack
from alexnet.pictures import Preprocessing
from alexnet.train.evaluate import ten_crop_probabilities
from alexnet.train.layer_outputs import centre_crop, layer_outputs
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


def metadata_of(source: Source, **changes: Any) -> ModelMetadata:
    values: dict[str, Any] = {
        "name": "random",
        "labels": source.labels,
        "preprocessing": Preprocessing(source.mean.shape[0]),
        "crop": source.network.architecture.crop,
        "crops": 10,
        "input": "pixels",
        "mean_sha256": "0" * 64,
        "recipe": {},
        "checkpoint_sha256": source.checkpoint_sha256,
        "toolchain_version": "0",
        "lrn": "conv",
        "stem": "plain",
        "precision": "fp32",
        "parity": {},
    }
    return ModelMetadata(**(values | changes))


def pack_of(source: Source, number: int) -> ParityPack:
    pictures = random_pictures(number)
    crop = centre_crop(pictures[0], source.mean, source.network.architecture.crop)
    return ParityPack(
        pictures,
        ten_crop_probabilities(source.network, pictures, source.mean),
        [f"picture {place}" for place in range(number)],
        source.checkpoint_sha256,
        layers=layer_outputs(source.network, crop),
    )


def model_of(source: Source) -> onnx.ModelProto:
    return onnx_model([source.numbers()], ExportOptions())


def test_every_batch_size_is_run_and_none_is_larger_than_a_runs_samples(
    tiny_source: Source, batches: list[int]
) -> None:
    proof = prove(model_of(tiny_source), metadata_of(tiny_source), pack_of(tiny_source, 70))
    assert batches == [1, 1, 2, 2, 7, 7, 32, 32, 6, 1]  # the last one for the layers
    assert {batch: result.pictures for batch, result in proof.batches.items()} == {1: 2, 2: 4, 7: 14, 32: 70}
    assert proof.comparison.pictures == 70
    assert proof.comparison.largest == max(result.largest for result in proof.batches.values())
    assert proof.comparison.largest == max(proof.differences.values())
    assert proof.to_values()["batches"]["7"]["pictures"] == 14


def test_a_fixed_batch_is_run_at_that_size_only_and_the_last_one_filled_up(
    tiny_source: Source, batches: list[int]
) -> None:
    proof = prove(model_of(tiny_source), metadata_of(tiny_source, batch=4), pack_of(tiny_source, 9))
    assert batches == [4, 4, 4, 4]
    assert list(proof.batches) == [4]
    assert proof.comparison.pictures == 9
    assert proof.layers.first is None
    assert not proof.layers.lacking


def test_a_fault_in_the_last_of_many_pictures_is_found(tiny_source: Source) -> None:
    pack = pack_of(tiny_source, 40)
    pack.probabilities[39, 0] += 0.01
    with pytest.raises(ParityError, match=r"by 0\.01 in a probability of picture 39.*all 21 layers .* agree"):
        prove(model_of(tiny_source), metadata_of(tiny_source), pack)


def test_a_layer_that_differs_fails_a_model_whose_answers_hold(tiny_source: Source) -> None:
    pack, model = pack_of(tiny_source, 2), model_of(tiny_source)
    # A network that answers nothing but its last bias: no fault below it can show in its probabilities.
    for name in ("fc8.weight", "conv1.bias"):
        (entry,) = (entry for entry in model.graph.initializer if entry.name == name)
        entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry) * np.float32(0), name))
    answers = np.exp(tiny_source.numbers().weights["fc8.bias"])
    probabilities = np.tile(answers / answers.sum(), (2, 1)).astype(np.float32)
    message = r"probabilities are within .* but the first layer that differs is conv1, "
    with pytest.raises(ParityError, match=message):
        prove(model, metadata_of(tiny_source), replace(pack, probabilities=probabilities))
