from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.crops import five_offsets
from alexnet.errors import InputError, PictureError
from alexnet.picture_files import find_pictures
from alexnet.runtime.backends import open_backend
from alexnet.runtime.gallery.gallery import NEAREST, VIEWS, Gallery, crops_of
from alexnet.runtime.gallery.neighbours import Neighbours, index_pictures
from tests.runtime.conftest import SIDE, colour_model, png


def test_a_picture_gets_its_classes_its_crops_and_its_neighbours(gallery: Gallery) -> None:
    answer = gallery.answer(png((20, 230, 20)))
    assert answer["answers"][0]["label"] == "green"
    assert sum(entry["probability"] for entry in answer["answers"]) == pytest.approx(1.0, abs=1e-6)
    assert [crop["name"] for crop in answer["crops"]] == list(VIEWS)
    near = answer["neighbours"]
    assert len(near) == NEAREST
    assert [entry["label"] for entry in near[:4]] == ["green"] * 4
    assert [entry["distance"] for entry in near] == sorted(entry["distance"] for entry in near)
    assert near[0]["distance"] == pytest.approx(0.0, abs=1e-3)


def test_what_is_shown_is_what_the_model_sees(gallery: Gallery) -> None:
    answer = gallery.answer(png((200, 30, 60)))
    shown = Image.open(io.BytesIO(base64.b64decode(answer["picture"].partition(",")[2])))
    assert shown.size == (SIDE, SIDE)
    assert np.abs(np.asarray(shown).mean((0, 1)) - (200, 30, 60)).max() < 3


@pytest.mark.parametrize(
    "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", png((1, 2, 3))[:50], b"GIF89a" * 9]
)
def test_what_is_no_picture_is_refused_in_words(gallery: Gallery, data: bytes) -> None:
    with pytest.raises(PictureError, match="this file"):
        gallery.answer(data)


def test_without_features_there_are_no_neighbours(tmp_path: Path) -> None:
    backend = open_backend(colour_model(tmp_path / "plain.onnx"))
    gallery = Gallery(backend, None)
    assert gallery.answer(png((0, 0, 250)))["neighbours"] == []
    assert gallery.facts()["neighbours"] == 0
    assert gallery.neighbour_picture(0) is None
    backend.close()


def test_the_ten_crops_stand_where_the_geometry_says() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    names, crops = crops_of(pixels, 16, 10)
    for place, (top, left) in enumerate(five_offsets(24, 16)):
        assert np.array_equal(crops[place], pixels[top : top + 16, left : left + 16])
        assert np.array_equal(crops[place + 5], crops[place][:, ::-1])
    assert names[4] == "centre" and names[5] == "top left, mirrored"
    names, crops = crops_of(pixels, 16, 1)
    assert (names, crops.shape) == (("centre",), (1, 16, 16, 3))
    assert crops_of(pixels, 0, 10)[0] == ()


def test_pictures_that_cannot_be_decoded_are_said_and_left_out(gallery: Gallery, images: Path) -> None:
    (images / "blue" / "0.png").write_text("words")
    said: list[str] = []
    found = index_pictures(gallery.backend, find_pictures([images]), said.append, lambda done, total: None)
    assert (len(found.paths), len(said)) == (11, 1)
    with pytest.raises(InputError, match="none of the pictures"):
        index_pictures(gallery.backend, [images / "blue" / "0.png"], said.append, lambda done, total: None)


def test_the_nearest_are_those_of_a_plain_search() -> None:
    features = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)
    neighbours = Neighbours(tuple(Path(f"{n}") for n in range(3000)), ("a",) * 3000, features)
    found = neighbours.nearest(features[1234], 6)
    wanted = np.linalg.norm(features.astype(np.float64) - features[1234], axis=1)
    assert [place for place, _ in found] == np.argsort(wanted, kind="stable")[:6].tolist()
    assert found[0] == (1234, 0.0)
