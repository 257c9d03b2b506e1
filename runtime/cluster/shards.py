"""Pictures in shards: the members of a tar file (WebDataset's form), the rows of a Parquet file.

One picture is held at a time. A shard is read without trust: nothing is unpacked, only plain members of a bounded size
are read, and damage becomes an entry with an error, so that it is reported where the pictures would stand.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from alexnet.errors import InputError, missing_package
from alexnet.picture_files import FILE_LIMIT, SUFFIXES

TAR, PARQUET = ".tar", ".parquet"
# Rows of a Parquet file that are held at once.
ROWS = 16
# The columns in which the bytes of a picture may stand: binary, or a struct of `bytes` and `path`.
COLUMNS = ("bytes", "image")


@dataclass(frozen=True)
class Entry:
    """One picture by its name: its bytes, None where it is a file to be read, or the reason why it has none."""

    name: str
    data: bytes | None = None
    error: str | None = None


def tar_entries(path: str) -> Iterator[Entry]:
    """Yield the pictures of a tar file, named FILE/MEMBER; what is damaged is one more entry, FILE, with an error."""
    count = 0
    try:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                inside = PurePosixPath(member.name)
                if member.isdir() or inside.suffix.lower() not in SUFFIXES or inside.name.startswith("."):
                    continue
                yield _member(tar, member, f"{path}/{inside}")
                count += 1
        _check_end(path)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Entry(path, error=f"{path} is damaged or cut off after {count} pictures: {error}; replace it")


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> Entry:
    """Return a member of a tar file."""
    if not member.isreg():
        return Entry(name, error=f"{name} is not a file but a link or device; put the picture itself into the shard")
    if member.size > FILE_LIMIT:
        return Entry(name, error=f"{name} has {member.size:,} bytes, the limit is {FILE_LIMIT:,}; make it smaller")
    file = tar.extractfile(member)
    assert file is not None
    return Entry(name, file.read())


def _check_end(path: str) -> None:
    """Raise ReadError for a tar file without the zeros at its end, of which tarfile says nothing."""
    with Path(path).open("rb") as file:
        file.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
        if file.read().strip(b"\0"):
            raise tarfile.ReadError("it has no end mark")


def row_groups(path: Path) -> list[int]:
    """Return the rows of each row group of a Parquet file; InputError when it is none, or holds no pictures."""
    file = _opened(str(path))
    with file:
        _columns(file.schema_arrow, str(path))
        return [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]


def parquet_entries(path: str, group: int, first: int) -> Iterator[Entry]:
    """Yield the pictures of a row group, whose first row is number `first`: exactly one entry a row.

    They are named FILE/PATH by a column `path`, or by the `path` beside the bytes, and FILE#ROW where there is none.
    """
    import pyarrow as pa

    file = _opened(path)
    row, end = first, first + file.metadata.row_group(group).num_rows
    with file:
        column, named = _columns(file.schema_arrow, path)
        try:
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=[column, *named]):
                for values in batch.to_pylist():
                    yield _of_row(path, row, values, column)
                    row += 1
        except (pa.ArrowException, OSError) as error:
            for left in range(row, end):
                yield Entry(f"{path}#{left}", error=f"{path}#{left} cannot be read: {error}; replace the shard")


def _of_row(path: str, row: int, values: dict[str, Any], column: str) -> Entry:
    """Return the picture in a row of a Parquet file."""
    cell = values[column]
    inside = cell if isinstance(cell, dict) else {"bytes": cell}
    given = values.get("path") or inside.get("path")
    name = f"{path}/{given}" if given else f"{path}#{row}"
    if not inside.get("bytes"):
        return Entry(name, error=f"{name} has no bytes; put the picture itself into the column {column}")
    return Entry(name, inside["bytes"])


def _opened(path: str) -> Any:
    """Return a Parquet file; InputError when it cannot be opened, MissingPackageError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_package("pyarrow", "ray", "a Parquet file") from None
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be opened as Parquet: {error}; replace it") from None


def _columns(schema: Any, path: str) -> tuple[str, list[str]]:
    """Return the column of a Parquet file that holds pictures, and `path` in a list where there is that column."""
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    column = next((name for name in COLUMNS if name in schema.names and holds(schema.field(name).type)), None)
    if column is None:
        raise InputError(
            f"{path} has the columns {', '.join(schema.names)}, expected pictures as bytes in one called "
            f"{' or '.join(COLUMNS)}"
        )
    named = "path" in schema.names and pa.types.is_string(schema.field("path").type)
    return column, ["path"] if named else []
