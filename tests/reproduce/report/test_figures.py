from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from alexnet.reproduce.report.figures import MAGNIFIED, confusion_image, curves_uri, kernel_block, png_uri


def test_kernels_stand_in_their_order_sixteen_to_a_row_each_with_its_own_scale() -> None:
    weights = np.random.default_rng(0).normal(size=(48, 3, 11, 11)).astype(np.float32)
    weights *= np.arange(1, 49, dtype=np.float32)[:, None, None, None]
    block = kernel_block(weights)
    step, size = 12 * MAGNIFIED, 11 * MAGNIFIED
    assert block.shape == (3 * step - MAGNIFIED, 16 * step - MAGNIFIED, 3)
    for number in (0, 15, 16, 47):
        row, column = divmod(number, 16)
        tile = block[row * step : row * step + size, column * step : column * step + size]
        brightest = np.unravel_index(weights[number].argmax(), weights[number].shape)
        assert tile[brightest[1] * MAGNIFIED, brightest[2] * MAGNIFIED, brightest[0]] == 255 == tile.max()
        assert 120 < tile.mean() < 135
    assert (block[:, size:step] == 255).all()


def test_a_row_of_the_matrix_is_darkest_where_most_pictures_went() -> None:
    image = confusion_image(np.array([[8, 2, 0], [0, 4, 0], [0, 0, 0]]))
    assert image[0, 0] < image[0, 1] < image[0, 2] == 255
    assert image[1].tolist() == [255, 0, 255]
    assert image[2].tolist() == [255, 255, 255]


def test_pictures_are_whole_inside_the_page() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    kind, _, data = png_uri(pixels).partition(",")
    assert kind == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels)


def test_curves_are_the_same_each_time() -> None:
    uris = {curves_uri([1, 2, 3], {"a": [1.0, 0.5, 0.2], "b": [2.0, 1.0, 0.9]}, [2], "loss") for _ in range(2)}
    assert len(uris) == 1
    assert base64.b64decode(uris.pop().partition(",")[2]).startswith(b"<?xml")
