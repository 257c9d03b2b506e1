from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alexnet.calibration.pictures import DataParts, PicturePart, balanced, choose, open_parts
from alexnet.errors import InputError
from alexnet.external import load_model
from alexnet.metadata import ModelMetadata
from alexnet.train.data.prepare import prepare


def part(labels: list[int], digests: list[str]) -> PicturePart:
    names = [f"{place}.jpg" for place in range(len(labels))]
    return PicturePart(np.array(labels), names, lambda places: np.zeros(0, dtype=np.uint8), digests.__getitem__)


def metadata(model: Path) -> ModelMetadata:
    proto = load_model(model)
    return ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, str(model))


def test_the_choice_is_balanced_and_repeats_with_its_seed() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 4])
    chosen = balanced(labels, 30, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [13, 13, 4]
    assert chosen == balanced(labels, 30, seed=1) != balanced(labels, 30, seed=2)
    assert len(set(chosen)) == 30
    assert balanced(labels, 1000, seed=1) == list(range(154))


def test_few_pictures_and_pictures_of_the_validation_part_are_warned_of() -> None:
    train, val = part([0, 1], ["a", "b"]), part([0, 1], ["b", "c"])
    few, shared = choose(DataParts(train, val), ("x", "y"), 10, seed=1).warnings
    assert "2 pictures calibrate, fewer than 100" in few
    assert "1 of the calibration pictures are in the validation part too, first 1.jpg" in shared


def test_enough_new_pictures_are_not_warned_of() -> None:
    train, val = part([0, 1] * 60, [f"t{place}" for place in range(120)]), part([0], ["v"])
    chosen = choose(DataParts(train, val), ("x", "y"), 100, seed=1)
    assert chosen.warnings == ()
    assert chosen.entries[0].keys() == {"name", "class", "sha256"}


def test_a_folder_and_prepared_data_give_the_same_pictures(model: Path, data: Path, tmp_path: Path) -> None:
    facts = metadata(model)
    side = facts.preprocessing.side
    options = {"side": side, "form": "raw", "quality": 90, "workers": 1, "strict": True}
    prepare(str(data), tmp_path / "prepared", progress=lambda done, total: None, **options)  # type: ignore[arg-type]
    folder, shards = open_parts(data, facts, model), open_parts(tmp_path / "prepared", facts, model)
    for one, other in ((folder.train, shards.train), (folder.val, shards.val)):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.read([0, 3]), other.read([0, 3]))
        assert [one.digest(place) for place in (0, 3)] == [other.digest(place) for place in (0, 3)]


def test_data_of_other_classes_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / name / "stranger").mkdir(parents=True)
        (tmp_path / name / "stranger" / "a.png").write_bytes(next(data.rglob("*.png")).read_bytes())
    with pytest.raises(InputError, match=r"has 1 classes, .* knows 7, and they differ"):
        open_parts(tmp_path, metadata(model), model)
