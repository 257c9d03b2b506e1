"""Pictures as files, in tar shards and in Parquet, good and bad, and the rows that the plain path gives of them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.runtime.conftest import png

COLOURS = ((230, 20, 20), (20, 230, 20), (20, 20, 230))


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: dict[str, Any], group: int = 3) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder of seven files, a tar of seven pictures among other members and a Parquet file of seven rows."""
    root = tmp_path / "sources"
    (root / "files").mkdir(parents=True)
    data = [png(COLOURS[place % 3]) for place in range(5)] + [b"only words", b""]
    for place, one in enumerate(data):
        (root / "files" / f"{place}.png").write_bytes(one)
    members = {f"{place}.png": one for place, one in enumerate(data)}
    write_tar(root / "shard.tar", {"0.cls": b"1", **members, "0.json": b"{}", ".hidden.png": b"x"})
    names = [f"{place}.png" for place in range(6)] + [None]
    write_parquet(root / "rows.parquet", {"bytes": [*data[:6], None], "path": names, "label": list(range(7))})
    return root


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a folder of results, of either form, by path: classes as (label, probability), or error."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("part-*")):
        if path.suffix == ".jsonl":
            rows += [json.loads(line) for line in path.read_text().splitlines()]
        else:
            rows += pq.read_table(path).to_pylist()
    return sorted(map(plain, rows), key=lambda row: row["path"])


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row says, whatever its form."""
    if row.get("error"):
        return {"path": row["path"], "error": row["error"]}
    return {"path": row["path"], "classes": [(found["label"], found["probability"]) for found in row["classes"]]}


def large_picture(path: Path, colour: tuple[int, int, int], side: int = 2000) -> None:
    """Write a JPEG that takes tens of milliseconds to decode."""
    Image.new("RGB", (side, side), colour).save(path, "JPEG")
