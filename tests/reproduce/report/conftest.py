"""A run that was really trained, on pictures of which one class has a name to be careful with."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from alexnet.cli import alexnet

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a run trained on it for two epochs, and its ONNX model beside the run."""
    root = tmp_path_factory.mktemp("report")
    recipe = (
        "name = 'tiny'\n[network]\nwidth = 0.0625\ncrop = 64\nclasses = 0\n[data]\npicture = 72\n[sgd]\nbatch = 16\n"
    )
    (root / "tiny.toml").write_text(recipe + "[schedule]\nepochs = 2\n")
    _call(f"data make {root}/data --size 72 --train 40 --val 30 --workers 1")
    for part in ("train", "val"):
        (root / "data" / part / "clock").rename(root / "data" / part / HOSTILE)
    _call(f"train --recipe {root}/tiny.toml --data {root}/data --out {root}/runs/tiny-001")
    _call(f"export {root}/runs/tiny-001 --onnx {root}/runs/model.onnx")
    return root


@pytest.fixture(scope="session")
def written(trained: Path) -> Path:
    """The page of the run."""
    _call(f"report {trained}/runs/tiny-001 --quiet")
    return trained / "runs" / "tiny-001" / "report.html"


def _call(line: str) -> None:
    result = CliRunner().invoke(alexnet, line.split())
    assert result.exit_code == 0, result.output
