from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from alexnet.errors import InputError
from alexnet.layers import LAYER_TOLERANCE
from alexnet.parity import TOLERANCE, ParityPack, compare, parity_pack_beside

NAMES = ["a", "b", "c"]


def probabilities(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    values = np.random.default_rng(seed).random((3, 8)).astype(np.float32)
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float32]] = values / values.sum(axis=1, keepdims=True)
    return scaled


def test_equal_answers_differ_by_nothing() -> None:
    found = compare(probabilities(0), probabilities(0), NAMES)
    assert (found.largest, found.mean, found.top1, found.top5) == (0.0, 0.0, 1.0, 1.0)
    assert found.kl == pytest.approx(0.0, abs=1e-9)


def test_the_worst_picture_is_named_and_measured() -> None:
    expected, found = probabilities(0), probabilities(0)
    found[1, 2] += 0.25
    result = compare(expected, found, NAMES)
    assert result.worst == "b"
    assert result.largest == pytest.approx(0.25, abs=1e-6)
    assert result.mean == pytest.approx(0.25 / 24, abs=1e-6)


def test_kullback_leibler_against_the_formula() -> None:
    p, q = probabilities(1).astype(np.float64), probabilities(2).astype(np.float64)
    result = compare(probabilities(1), probabilities(2), NAMES)
    assert result.kl == pytest.approx(float((p * np.log(p / q)).sum(axis=1).mean()), rel=1e-6)


def test_top_classes_that_change_are_counted() -> None:
    expected = np.eye(8, dtype=np.float32)[:3] * 0.5 + 0.01
    found = expected.copy()
    found[0] = found[0][::-1]
    assert compare(expected, found, NAMES).top1 == pytest.approx(2 / 3)


def test_nan_passes_no_tolerance() -> None:
    found = probabilities(0)
    found[2, 3] = np.nan
    result = compare(probabilities(0), found, NAMES)
    assert result.largest == np.inf
    assert result.worst == "c"


def test_nan_in_the_expectation_passes_no_tolerance_either() -> None:
    expected = probabilities(0)
    expected[1, 0] = np.nan
    result = compare(expected, expected, NAMES)
    assert (result.largest, result.worst) == (np.inf, "b")
    assert np.isfinite(result.kl)


def test_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="other classes"):
        compare(probabilities(0), probabilities(0)[:, :4], NAMES)


def test_the_pack_survives_the_disk(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    layers = {name: np.full((2, 3, 3), place, dtype=np.float32) for place, name in enumerate(("relu1", "net2/conv1"))}
    pack = ParityPack(pictures, probabilities(0), ["é/1.jpg", "b", "c"], "ab" * 32, 1, layers)
    path = parity_pack_beside(tmp_path / "model.onnx")
    assert path.name == "model.parity.safetensors"
    pack.save(path)
    again = ParityPack.load(path)
    assert (again.pictures == pictures).all()
    assert (again.probabilities == pack.probabilities).all()
    assert (again.names, again.checkpoint_sha256, again.crops) == (pack.names, pack.checkpoint_sha256, 1)
    assert list(again.layers) == ["relu1", "net2/conv1"]
    assert (again.layers["net2/conv1"] == 1).all()


def test_a_missing_or_truncated_pack_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "model.parity.safetensors"
    with pytest.raises(InputError, match="there is no parity pack"):
        ParityPack.load(path)
    pictures = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    ParityPack(pictures, probabilities(0), NAMES, "0").save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="not a whole parity pack"):
        ParityPack.load(path)


PICTURES = np.zeros((3, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pictures": PICTURES[:2]}, "pictures uint8"),
        ({"pictures": PICTURES.astype(np.float32)}, "pictures float32"),
        ({"pictures": PICTURES[:, :7]}, "pictures uint8"),
        ({"probabilities": probabilities(0)[:2]}, "probabilities float32"),
        ({"probabilities": probabilities(0).astype(np.float64)}, "probabilities float64"),
        ({"crops": 3}, "3 crops"),
        ({"layers": {"conv1": np.zeros((2, 3, 3))}}, "layer conv1 float64"),
        ({"layers": {"conv1": np.zeros((2, 3), dtype=np.float32)}}, "layer conv1 float32"),
    ],
)
def test_a_pack_whose_tensors_are_not_what_they_should_be_is_damaged(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    values = {"pictures": PICTURES, "probabilities": probabilities(0), "names": NAMES, "checkpoint_sha256": "0"}
    ParityPack(**(values | changes)).save(tmp_path / "p.safetensors")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"not a whole parity pack .{named}"):
        ParityPack.load(tmp_path / "p.safetensors")


def test_a_pack_that_lacks_a_layer_it_lists_is_damaged(tmp_path: Path) -> None:
    tensors = {"pictures": PICTURES, "probabilities": probabilities(0)}
    header = {"names": json.dumps(NAMES), "checkpoint_sha256": "0", "crops": "10", "layers": '["conv1"]', "format": "2"}
    (tmp_path / "p.safetensors").write_bytes(safetensors.numpy.save(tensors, metadata=header))
    with pytest.raises(InputError, match="not a whole parity pack"):
        ParityPack.load(tmp_path / "p.safetensors")


def test_the_page_gives_the_tolerances_that_count() -> None:
    page = (Path(__file__).parents[2] / "docs" / "parity.md").read_text(encoding="utf-8")
    for precision, probability in TOLERANCE.items():
        tolerance = LAYER_TOLERANCE[precision]
        row = re.search(rf"^\| {precision} \| (\S+) \| (\S+) \| (\S+) \|", page, flags=re.MULTILINE)
        assert row, precision
        assert [float(value) for value in row.groups()] == [probability, tolerance.crops, tolerance.layers]
