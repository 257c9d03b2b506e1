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
from alexnet.pictures import Preprocessing, load_picture
from alexnet.runtime.backends import OutOfMemory
from alexnet.runtime.classify import Result, classify
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
    assert taken <= 3 * 2 * 4


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_no_more_than_three_batches_are_held(files: list[Path], batch: int) -> None:
    loaded: list[Path] = []

    def watched(path: Path, preprocessing: Preprocessing) -> Pixels:
        loaded.append(path)
        return load_picture(path, preprocessing)

    enough = threading.Event()

    class Waiting(Formula):
        def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
            enough.wait(timeout=10)
            return super().probabilities(pictures)

    results = classify(Waiting(), files * 10, batch=batch, workers=2, load=watched)
    consumer = threading.Thread(target=lambda: next(results))
    consumer.start()
    until = time.monotonic() + 10
    while len(loaded) < 3 * batch and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.05)
    # One batch runs, one waits to run, and one is decoded.
    assert len(loaded) == 3 * batch
    enough.set()
    consumer.join(timeout=10)
    results.close()  # type: ignore[attr-defined]


def test_the_next_batch_is_assembled_while_one_runs(files: list[Path]) -> None:
    class Second(Formula):
        """Its first batch ends when all pictures of the second have been asked for."""

        def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
            assert self.batches or asked.wait(timeout=10)
            return super().probabilities(pictures)

    asked = threading.Event()

    def paths() -> object:
        for place, path in enumerate(files):
            if place == 5:
                asked.set()
            yield path

    assert len(list(classify(Second(), paths(), batch=3))) == 10  # type: ignore[arg-type]


class Small(Formula):
    """A device with room for `room` pictures."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def probabilities(self, pictures: Pixels) -> npt.NDArray[np.float32]:
        if len(pictures) > self.room:
            raise OutOfMemory("the GPU has no room for that many; use a smaller --batch")
        return super().probabilities(pictures)


def test_where_memory_runs_out_the_batch_is_halved_and_said(files: list[Path]) -> None:
    said: list[str] = []
    small, plenty = Small(3), Formula()
    found = list(classify(small, files * 3, batch=8, say=said.append))
    assert [result.answers for result in found] == [result.answers for result in classify(plenty, files * 3)]
    assert max(small.batches) <= 3
    assert said == [
        "the GPU has no room for that many: going on with batches of 4",
        "the GPU has no room for that many: going on with batches of 2",
    ]


def test_a_device_without_room_for_one_picture_is_an_error(files: list[Path]) -> None:
    with pytest.raises(OutOfMemory):
        list(classify(Small(0), files, batch=4))


class Layered(Formula):
    """Its last hidden layer is the mean colour, brighter from crop to crop."""

    def probabilities_and_features(self, pictures: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        colours = pictures.mean((1, 2))[:, None] + np.arange(10)[None, :, None]
        return self.probabilities(pictures), colours.astype(np.float32)


def test_features_are_the_mean_of_the_crops_or_the_centre_one(files: list[Path]) -> None:
    plain = [load_picture(path, metadata().preprocessing).mean((0, 1)) for path in files]
    for of, more in (("mean", 4.5), ("centre", 4.0)):
        found = classify(Layered(), files, batch=4, features=of)  # type: ignore[arg-type]
        for result, colour in zip(found, plain, strict=True):
            assert result.features is not None
            assert np.abs(result.features - (colour + more)).max() < 1e-3


def test_an_engine_without_hidden_layers_is_named(files: list[Path]) -> None:
    with pytest.raises(ModelError, match="gives no hidden layer"):
        list(classify(Formula(), files, features="mean"))


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
