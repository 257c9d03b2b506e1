"""A small real model with a hidden layer, pictures in three folders, and an index of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.runtime.backends.test_onnx_file import changed, ten_crops_of_a_matrix
from tests.runtime.conftest import colour_model

Cli = Callable[..., Result]


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """The colour model with a hidden layer: the mean colour, brighter from crop to crop."""
    return changed(colour_model(tmp_path / "hidden.onnx"), ten_crops_of_a_matrix)


@pytest.fixture
def index(hidden: Path, images: Path, tmp_path: Path, run_cli: Cli) -> Path:
    """An index of twelve plain pictures, three colours of four."""
    pytest.importorskip("usearch", reason="usearch is not installed: extra retrieval")
    done = run_cli("index", hidden, images, "-o", tmp_path / "index", "--quiet")
    assert done.exit_code == 0, done.output
    return tmp_path / "index"
