from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

Cli = Callable[..., Result]


@pytest.fixture
def odd(tmp_path: Path, tiny_data: Path) -> Path:
    root = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    train = root / "train"
    Image.new("CMYK", (90, 90), (1, 2, 3, 4)).save(train / "noise" / "cmyk.jpg")
    Image.open(train / "down" / "1.png").convert("L").save(train / "down" / "grey.png")
    shutil.copy(train / "across" / "1.png", train / "across" / "copy.JPEG")
    Image.new("RGB", (40, 200), "red").save(train / "down" / "tiny.png")
    (train / "noise" / "cut.png").write_bytes((train / "noise" / "1.png").read_bytes()[:500])
    shutil.copy(train / "noise" / "2.png", root / "val" / "noise" / "seen.png")
    return root


def test_every_oddity_is_counted_and_named(odd: Path, run_cli: Cli) -> None:
    report = json.loads(run_cli("data", "check", odd, "--json").stdout)
    assert {kind: oddity["first"] for kind, oddity in report["oddities"].items()} == {
        "cannot be decoded": ["train/noise/cut.png"],
        "cmyk": ["train/noise/cmyk.jpg"],
        "grey": ["train/down/grey.png"],
        "misnamed": ["train/across/copy.JPEG"],
        "tiny": ["train/down/tiny.png"],
        "duplicate": ["train/across/copy.JPEG"],
        "overlap": ["val/noise/seen.png"],
    }
    assert report["pictures"] == {"train": 26, "val": 10}
    assert report["largest_class"] == ["down", 9]
    assert report["smallest_class"] == ["across", 8]


def test_the_report_as_text(odd: Path, run_cli: Cli) -> None:
    text = run_cli("data", "check", odd).stdout
    assert "26 in train, 10 in val; 3 classes" in text
    assert "1 in CMYK colours: train/noise/cmyk.jpg" in text


def test_a_clean_source_has_none(tiny_data: Path, run_cli: Cli) -> None:
    report = json.loads(run_cli("data", "check", tiny_data, "--json").stdout)
    assert sum(oddity["count"] for oddity in report["oddities"].values()) == 0
