from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alexnet.errors import InputError
from alexnet.train.data import generator
from alexnet.train.data.generator import CLASSES, draw_picture, make_flat, make_pictures

SEED, SIZE, TRAIN, VAL = 5, 32, 23, 11


def digests(folder: Path) -> dict[str, str]:
    """The digest of every file under a folder, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make(out: Path, *, seed: int = SEED, size: int = SIZE, val: int = VAL, workers: int = 1) -> None:
    make_pictures(out, seed=seed, size=size, train=TRAIN, val=val, workers=workers)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures") / "made"
    make(out)
    return out


def test_the_classes_are_ten_and_in_image_folder_order() -> None:
    assert len(CLASSES) == 10
    assert list(CLASSES) == sorted(set(CLASSES))


def test_a_picture_is_a_function_of_its_arguments_alone() -> None:
    first, _, again = (draw_picture(label, seed=1, part="train", index=2, size=48) for label in (3, 4, 3))
    assert again.tobytes() == first.tobytes()


def test_every_argument_changes_the_picture() -> None:
    pictures = [
        draw_picture(0, seed=1, part="train", index=1, size=48),
        draw_picture(1, seed=1, part="train", index=1, size=48),
        draw_picture(0, seed=2, part="train", index=1, size=48),
        draw_picture(0, seed=1, part="val", index=1, size=48),
        draw_picture(0, seed=1, part="test", index=1, size=48),
        draw_picture(0, seed=1, part="train", index=2, size=48),
        draw_picture(0, seed=1, part="train", index=1, size=49),
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize(
    ("label", "mean"),
    [(0, (157.9, 135.7, 111.4)), (4, (120.1, 86.0, 88.4)), (9, (93.0, 25.1, 76.6))],
)
def test_these_pictures_are_of_version_1(label: int, mean: tuple[float, float, float]) -> None:
    """Fails when the same arguments give other pictures: raise GENERATOR_VERSION, then the colours here."""
    assert generator.GENERATOR_VERSION == 1
    picture = np.asarray(draw_picture(label, seed=7, part="val", index=3, size=64))
    assert picture.mean(axis=(0, 1)) == pytest.approx(mean, abs=0.5)


@pytest.mark.parametrize("size", [16, 33, 200])
def test_the_shorter_side_is_the_size_and_the_longer_at_most_half_as_long_again(size: int) -> None:
    sizes = [draw_picture(n % 10, seed=0, part="train", index=n, size=size).size for n in range(1, 13)]
    assert {min(sides) for sides in sizes} == {size}
    assert size < max(max(sides) for sides in sizes) <= round(1.5 * size)
    assert {width > height for width, height in sizes if width != height} == {True, False}


def test_the_same_picture_at_another_size_shows_the_same_scene() -> None:
    small, large = (draw_picture(2, seed=3, part="train", index=4, size=size) for size in (48, 144))
    shrunk = np.asarray(large.resize(small.size, Image.Resampling.BOX), dtype=float)
    other = draw_picture(2, seed=3, part="train", index=5, size=48).resize(small.size)
    apart = np.abs(shrunk - np.asarray(small)).mean()
    assert apart < 0.25 * np.abs(shrunk - np.asarray(other)).mean()


def test_the_layout_is_that_of_an_image_folder_with_balanced_classes(made: Path) -> None:
    files = [path for path in made.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".jpg", ".json"}
    for part, number in (("train", TRAIN), ("val", VAL)):
        names = [path.relative_to(made / part) for path in (made / part).rglob("*.jpg")]
        assert len(names) == number
        counts = Counter(name.parts[0] for name in names)
        assert set(counts) == set(CLASSES)
        assert max(counts.values()) - min(counts.values()) == 1
    assert (made / "train" / "mug" / "mug-00002.jpg").exists()
    with Image.open(made / "val" / "key" / "key-00001.jpg") as picture:
        assert (picture.format, picture.mode, min(picture.size)) == ("JPEG", "RGB", SIZE)


def test_the_folder_says_what_it_holds(made: Path) -> None:
    assert json.loads((made / "pictures.json").read_text()) == {
        "generator_version": 1,
        "seed": SEED,
        "size": SIZE,
        "train": TRAIN,
        "val": VAL,
        "classes": list(CLASSES),
    }


def test_no_picture_occurs_twice(made: Path) -> None:
    found = digests(made)
    assert len(set(found.values())) == len(found)


def test_two_workers_write_the_same_bytes_and_report_every_picture(made: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_pictures(
        tmp_path / "out",
        seed=SEED,
        size=SIZE,
        train=TRAIN,
        val=VAL,
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert digests(tmp_path / "out") == digests(made)
    assert seen[-1] == (TRAIN + VAL, TRAIN + VAL)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_larger_set_contains_the_smaller(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "out", val=VAL + 4)
    small, large = digests(made), digests(tmp_path / "out")
    del small["pictures.json"]
    assert small.items() < large.items()


def test_a_half_drawn_folder_is_completed_without_drawing_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    drawn: list[tuple[str, int, int]] = []

    def stop_after_nine(label: int, *, seed: int, part: str, index: int, size: int) -> Image.Image:
        if len(drawn) == 9:
            raise KeyboardInterrupt
        drawn.append((part, label, index))
        return draw_picture(label, seed=seed, part=part, index=index, size=size)

    monkeypatch.setattr(generator, "draw_picture", stop_after_nine)
    with pytest.raises(KeyboardInterrupt):
        make(out)
    assert len(list(out.rglob("*.jpg"))) == 9
    assert not (out / "pictures.json").exists()
    with pytest.raises(InputError, match=r"seed 6.*choose another folder"):
        make(out, seed=6)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    monkeypatch.undo()
    make(out)
    assert digests(out) == digests(made)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_finished_folder_is_left_as_it_is(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> Image.Image:
        raise AssertionError("drew a picture again")

    before = digests(made)
    monkeypatch.setattr(generator, "draw_picture", refuse)
    make(made)
    assert digests(made) == before


def test_other_arguments_on_a_finished_folder_are_refused(made: Path) -> None:
    before = digests(made)
    with pytest.raises(InputError, match=r"size 32, .*size 33.*choose another folder"):
        make(made, size=33)
    assert digests(made) == before


def test_pictures_of_unknown_origin_are_not_mixed_with(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"no pictures\.json"):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "train"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"val": 9}, "at least 10"),
        ({"size": 8}, "at least 16"),
        ({"seed": -1}, "from 0"),
        ({"workers": 0}, "at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(InputError, match="train, val, test"):
        draw_picture(0, seed=0, part="dev", index=1, size=32)


def test_a_flat_folder_holds_other_pictures_than_the_parts(made: Path, tmp_path: Path) -> None:
    make_flat(tmp_path, seed=SEED, size=SIZE, number=13)
    flat = digests(tmp_path)
    assert len(flat) == 13
    assert {"clock-0001.jpg", "clock-0002.jpg", "umbrella-0001.jpg"} < set(flat)
    assert not set(flat.values()) & set(digests(made).values())


def test_a_linear_model_cannot_tell_the_classes_apart() -> None:
    """Neither colour, brightness nor place tells the class: ridge regression on pixels stays above 50 %."""

    def rows(part: str, number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        labels = np.arange(number) % len(CLASSES)
        pictures = (
            draw_picture(int(label), seed=0, part=part, index=index, size=24).resize((12, 12))
            for index, label in enumerate(labels)
        )
        return np.stack([np.asarray(picture).reshape(-1) / 255 for picture in pictures]), labels

    (x, labels), (held_out, truth) = rows("train", 600), rows("val", 200)
    mean = x.mean(axis=0)
    x, held_out = x - mean, held_out - mean
    targets = np.eye(len(CLASSES))[labels] - 1 / len(CLASSES)
    weights = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ targets)
    errors = {
        "trained on": np.mean((x @ weights).argmax(axis=1) != labels),
        "held out": np.mean((held_out @ weights).argmax(axis=1) != truth),
    }
    assert errors["trained on"] < 0.8, "the model must be able to learn something"
    assert errors["held out"] > 0.5
