from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.source import Source

NAMES = [f"cats|dogs/{place}\n.png" for place in range(9)]


def test_the_report_says_what_was_compared_and_how_far_it_is(
    tmp_path: Path, tiny_source: Source, pictures: npt.NDArray[np.uint8]
) -> None:
    exported = export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx")
    assert exported.report == tmp_path / "model.proof.md"
    text = exported.report.read_text()
    assert text.startswith("# Proof of parity: model.onnx\n")
    for row in (
        f"| checkpoint, SHA-256 | {tiny_source.checkpoint_sha256} |",
        "| crops | 10 of 64 pixels |",
    ):
        assert row in text
    assert re.search(r"^\| crops \| 1\d\d\.\d \| 0\.00e\+00 \| 0\.00e\+00 \| 1e-06 \|$", text, re.MULTILINE)
    batches = [line for line in text.splitlines() if "100.0%" in line]
    assert [line.split(" | ")[0] for line in batches] == ["| 1", "| 2", "| 7", "| 9"]
    assert f"{exported.proof.comparison.largest:.2e}" in batches[-1] + batches[-2]
    assert str(tmp_path) not in text


def test_a_hostile_name_breaks_no_table(tmp_path: Path, tiny_source: Source, pictures: npt.NDArray[np.uint8]) -> None:
    text = export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx").report.read_text()
    rows = text.split("## Worst pictures")[1].strip().splitlines()
    assert len(rows) == 2 + 5
    assert all(row.replace("\\|", "").count("|") == 3 for row in rows)
