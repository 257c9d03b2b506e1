from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.errors import ModelError
from alexnet.metadata import ModelMetadata
from alexnet.runtime import classify as classify_module
from alexnet.runtime.classify import AHEAD, Result, classify
from tests.runtime.conftest import LABELS, expected, metadata, png

Pixels = npt.NDArray[np.uint8]


class Formula:
    """A backend that computes the formula of the colour model and remembers its batches."""

    name, device, precision = "formula", "CPU", "fp32"

    def __init__(self, largest: int | None = None) -> None:
        self.metadata: ModelMetadata = metadata()
        self.largest_batch = largest
        self.batches: list[int] = []

    def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
        self.batches.append(len(pictures))
        return expected(pictures)

    def close(self) -> None: ...


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Ten pictures, each named after the place its reddest class must take."""
    paths = [tmp_path / f"{place}.png" for place in range(10)]
    for place, path in enumerate(paths):
        colour = [20, 20, 20]
        colour[place % 3] = 200
        Image.new("RGB", (30, 40), tuple(colour)).save(path)
    return paths


def test_results_come_in_the_order_of_the_paths_with_their_own_answers(files: list[Path]) -> None:
    order = [files[place] for place in (7, 0, 3, 9, 1, 1, 8)]
    results = list(classify(Formula(), order, batch=3, workers=4))
    assert [result.path for result in results] == order
    assert [result.answers[0].label for result in results] == [LABELS[int(path.stem) % 3] for path in order]


def test_answers_are_ranked_and_ties_keep_the_order_of_the_labels(tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(png((90, 90, 90)))
    (tmp_path / "green.png").write_bytes(png((90, 120, 100)))
    grey, green = classify(Formula(), [tmp_path / "grey.png", tmp_path / "green.png"], top=2)
    assert [answer.label for answer in grey.answers] == ["red", "green"]
    assert [answer.label for answer in green.answers] == ["green", "blue"]
    assert green.answers[0].probability > green.answers[1].probability


def test_equal_answers_among_many_classes_keep_the_order_of_the_labels(files: list[Path]) -> None:
    class Undecided(Formula):
        def __init__(self) -> None:
            super().__init__()
            self.metadata = metadata(labels=tuple(f"class {place}" for place in range(100)))

        def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
            return np.full((len(pictures), 100), 0.01, dtype=np.float32)

    (result,) = classify(Undecided(), files[:1])
    assert [answer.label for answer in result.answers] == [f"class {place}" for place in range(5)]


def test_more_classes_than_there_are_gives_all(files: list[Path]) -> None:
    (result,) = classify(Formula(), files[:1], top=99)
    assert len(result.answers) == 3
    assert sum(answer.probability for answer in result.answers) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("batch", "largest", "batches"), [(4, None, [4, 4, 2]), (4, 3, [3, 3, 3, 1]), (99, None, [10]), (1, None, [1] * 10)]
)
def test_batches_are_full_and_no_larger_than_the_backend_takes(
    files: list[Path], batch: int, largest: int | None, batches: list[int]
) -> None:
    backend = Formula(largest)
    assert len(list(classify(backend, files, batch=batch))) == 10
    assert backend.batches == batches


def test_bad_pictures_stay_in_their_places_and_out_of_the_batches(files: list[Path]) -> None:
    for place in (0, 4, 5):
        files[place].write_text("words")
    backend = Formula()
    results = list(classify(backend, files, batch=3))
    assert [place for place, result in enumerate(results) if result.error is not None] == [0, 4, 5]
    assert [result.path for result in results] == files
    assert all(result.answers == () for result in results if result.error)
    assert backend.batches == [3, 3, 1]


def test_a_long_run_of_bad_pictures_is_reported_as_it_comes(tmp_path: Path) -> None:
    taken = 0

    def absent() -> object:
        nonlocal taken
        for place in range(1000):
            taken += 1
            yield tmp_path / f"{place}.png"

    results = classify(Formula(), absent(), batch=2)  # type: ignore[arg-type]
    assert next(results).error is not None
    assert taken <= 2 * 2 * (1 + AHEAD)


def test_decoding_runs_ahead_but_only_so_far(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    load = classify_module.load_picture

    def watched(path: Path, preprocessing: object) -> Pixels:
        loaded.append(path)
        return load(path, preprocessing)  # type: ignore[arg-type]

    monkeypatch.setattr(classify_module, "load_picture", watched)
    results = classify(Formula(), files * 10, batch=2, workers=2)
    next(results)
    until = time.monotonic() + 10
    while len(loaded) < 2 * (1 + AHEAD) and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.05)
    assert 2 * (1 + AHEAD) <= len(loaded) <= 2 * (2 + AHEAD)


def test_leaving_early_stops_the_threads(files: list[Path]) -> None:
    before = set(threading.enumerate())
    results = classify(Formula(), files * 100, batch=2, workers=4)
    next(results)
    decoders = set(threading.enumerate()) - before
    assert decoders
    results.close()  # type: ignore[attr-defined]
    for thread in decoders:
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_never_printed(files: list[Path], value: float) -> None:
    class Broken(Formula):
        def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
            answers = expected(pictures)
            answers[-1, 1] = value
            return answers

    results: list[Result] = []
    with pytest.raises(ModelError, match=r"answers NaN or infinity for .*2\.png"):
        results.extend(classify(Broken(), files, batch=3))
