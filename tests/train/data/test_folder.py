from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from alexnet.class_folders import folder_classes
from alexnet.errors import InputError, PictureError
from alexnet.pictures import Preprocessing, load_picture
from alexnet.train.data.folder import load_part


@pytest.fixture
def data(tmp_path: Path, tiny_data: Path) -> Path:
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def test_pictures_come_sorted_with_labels_and_names(data: Path) -> None:
    part = load_part(data, "val", Preprocessing(72))
    assert part.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert part.names[3] == "val/down/0.png"
    assert np.array_equal(part.pictures[3], load_picture(data / "val/down/0.png", Preprocessing(72)))


def test_progress_reaches_the_end(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_part(data, "val", Preprocessing(72), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)


def test_missing_parts_and_other_classes_are_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"has no folder train/.*alexnet data make"):
        folder_classes(data / "absent")
    shutil.rmtree(data / "val" / "down")
    with pytest.raises(InputError, match="different classes, first 'down'"):
        folder_classes(data)


def test_a_picture_that_cannot_be_decoded_is_named(data: Path) -> None:
    (data / "val" / "noise" / "1.png").write_text("not a picture")
    with pytest.raises(PictureError, match=r"noise/1.png is not a picture"):
        load_part(data, "val", Preprocessing(72))


def test_pictures_past_the_memory_are_to_be_prepared(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.train.data.folder.physical_memory", lambda: 9 * 72 * 72 * 3)
    with pytest.raises(InputError, match=r"9 pictures, 0.0 GB once decoded.*alexnet data prepare .* --size 72"):
        load_part(data, "val", Preprocessing(72))
    monkeypatch.setattr("alexnet.train.data.folder.physical_memory", lambda: 2 * 9 * 72 * 72 * 3)
    assert len(load_part(data, "val", Preprocessing(72)).labels) == 9
