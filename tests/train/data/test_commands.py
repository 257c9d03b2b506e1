from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from PIL import Image

from alexnet.train.data.generator import CLASSES


def test_flat_pictures_are_named_after_their_class(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    result = run_cli("data", "make", tmp_path / "images", "--flat", "12", "--size", "40")
    assert result.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(names) == 12
    assert {name.rsplit("-", 1)[0] for name in names} == set(CLASSES)
    with Image.open(tmp_path / "images" / names[0]) as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) == 40


def test_the_command_says_what_it_drew(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    options = ("--size", "24", "--train", "20", "--val", "10", "--workers", "1")
    result = run_cli("data", "make", tmp_path / "d", *options)
    assert "20 pictures to train on and 10 held out, 10 classes" in result.output
    refused = run_cli("data", "make", tmp_path / "d", *options, "--seed", "3")
    assert refused.exit_code == 3
