from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow as pa
import pytest

from alexnet.errors import InputError
from alexnet.runtime.cluster.parts import LARGEST, SMALLEST, Part, cut, digest_of
from alexnet.runtime.cluster.shards import Entry, parquet_entries, tar_entries
from tests.runtime.cluster.conftest import write_parquet, write_tar
from tests.runtime.conftest import png

NOTHING = io.BytesIO()


def test_every_file_is_in_one_part_in_order_and_the_cut_is_the_same_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    names = [folder / f"{place:04d}.jpg" for place in range(SMALLEST * 2 + 5)]
    for name in names:
        name.touch()
    parts = cut([str(folder)], NOTHING)
    assert [len(part.paths) for part in parts] == [SMALLEST, SMALLEST, 5]
    assert [name for part in parts for name in part.paths] == list(map(str, names))
    assert [Part.from_json(part.to_json()) for part in parts] == parts
    assert digest_of(parts) == digest_of(cut([str(folder)], NOTHING))
    (folder / "more.jpg").touch()
    assert digest_of(parts) != digest_of(cut([str(folder)], NOTHING))


def test_parts_grow_with_the_run_up_to_a_bound() -> None:
    listed = io.BytesIO(b"\n".join(b"%06d.jpg" % place for place in range(200_000)))
    parts = cut(["-"], listed)
    assert {len(part.paths) for part in parts[:-1]} == {LARGEST}
    assert sum(len(part.paths) for part in parts) == 200_000


def test_shards_in_a_folder_are_parts_of_their_own_and_a_changed_one_is_noticed(sources: Path) -> None:
    parts = cut([str(sources)], NOTHING)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert [(part.kind, part.group, part.first) for part in parts] == [
        ("files", 0, 0),
        ("parquet", 0, 0),
        ("parquet", 1, 3),
        ("parquet", 2, 6),
        ("tar", 0, 0),
    ]
    os.utime(sources / "shard.tar", ns=(1, 1))
    assert digest_of(parts) != digest_of(cut([str(sources)], NOTHING))


def test_a_shard_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.parquet").write_text("words")
    write_parquet(tmp_path / "text.parquet", {"caption": ["a"], "image": ["text"]})
    os.mkfifo(tmp_path / "pipe.tar")
    for name, words in (
        ("words.parquet", "cannot be opened as Parquet"),
        ("text.parquet", "has the columns caption, image, expected pictures as bytes"),
        ("pipe.tar", "is not a file"),
        ("absent.tar", "cannot be opened"),
    ):
        with pytest.raises(InputError, match=words):
            cut([str(tmp_path / name)], NOTHING)


def test_the_pictures_of_a_tar_and_nothing_else(sources: Path) -> None:
    path = str(sources / "shard.tar")
    entries = list(tar_entries(path))
    assert [entry.name for entry in entries] == [f"{path}/{place}.png" for place in range(7)]
    assert entries[0].data == (sources / "files" / "0.png").read_bytes()


def test_a_tar_that_is_cut_off_anywhere_says_so_once(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{place}.png": png((place, 0, 0)) for place in range(4)})
    whole, header = path.read_bytes(), 512
    member = header + (len(png((0, 0, 0))) + 511) // 512 * 512
    for length, kept in ((member * 2 + 540, 2), (member * 2 + 100, 2), (member * 2, 2), (member * 4, 4), (0, 0)):
        path.write_bytes(whole[:length])
        *good, last = tar_entries(str(path))
        assert [entry.error for entry in good] == [None] * kept, length
        assert last.name == str(path)
        assert f"cut off after {kept} pictures" in (last.error or "")


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (entry,) = tar_entries(str(tmp_path / "a.tar"))
    assert entry.data is None
    assert "is not a file but a link" in (entry.error or "")


def test_the_rows_of_a_parquet_file_by_group_with_their_names(sources: Path, tmp_path: Path) -> None:
    path = str(sources / "rows.parquet")
    entries = [entry for group, first in ((0, 0), (1, 3), (2, 6)) for entry in parquet_entries(path, group, first)]
    assert [entry.name for entry in entries] == [*(f"{path}/{place}.png" for place in range(6)), f"{path}#6"]
    assert "has no bytes" in (entries[6].error or "")
    cells = [{"bytes": b"one", "path": "one.jpg"}, {"bytes": b"two", "path": None}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    hub = str(write_parquet(tmp_path / "hub.parquet", {"image": pa.array(cells, kind)}))
    assert list(parquet_entries(hub, 0, 0)) == [Entry(f"{hub}/one.jpg", b"one"), Entry(f"{hub}#1", b"two")]


def test_a_damaged_row_group_still_has_an_entry_a_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"bytes": [bytes([place]) * 3000 for place in range(9)]}, group=9)
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    entries = list(parquet_entries(str(path), 0, 0))
    assert [entry.name for entry in entries] == [f"{path}#{place}" for place in range(9)]
    assert any("cannot be read" in (entry.error or "") for entry in entries)
