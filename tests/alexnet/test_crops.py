from __future__ import annotations

import numpy as np

from alexnet.crops import centre_offset, five_offsets, ten_crops


def test_offsets_of_the_paper_are_multiples_of_conv1s_stride() -> None:
    assert five_offsets(256, 224) == ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16))


def test_an_odd_margin_leaves_less_before() -> None:
    assert centre_offset(256, 227) == 14


def test_ten_crops_are_corners_centre_and_mirrors() -> None:
    pictures = np.arange(2 * 6 * 6 * 3).reshape(2, 6, 6, 3)
    views = ten_crops(pictures, 4)
    assert views.shape == (10, 2, 4, 4, 3)
    assert (views[1] == pictures[:, :4, 2:]).all()
    assert (views[2] == pictures[:, 2:, :4]).all()
    assert (views[4] == pictures[:, 1:5, 1:5]).all()
    assert (views[5:] == views[:5, :, :, ::-1]).all()
