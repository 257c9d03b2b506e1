"""The last hidden layer of every picture as a file: NumPy's .npy, or Parquet (extra `parquet`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import InputError, missing_package
from alexnet.files import atomic_write
from alexnet.runtime.backends import Floats

Add = Callable[[Path, Floats], None]
SUFFIXES = (".npy", ".parquet")
# Rows that Parquet writes as one group.
GROUP = 1024


@contextlib.contextmanager
def features_file(path: Path, described: dict[str, Any]) -> Iterator[Add]:
    """Yield a function that adds a picture's features [F]; the file stands at `path` when the block ends well.

    In .npy they are float32 [pictures, F], and the pictures' paths stand in `path`.paths.json with `described`, what
    made them. In .parquet they are the columns path and features, `described` is in the schema's metadata. Rows are
    written as they come. Raises InputError for another suffix, MissingPackageError without pyarrow.
    """
    if path.suffix == ".npy":
        with _npy(path, described) as add:
            yield add
    elif path.suffix == ".parquet":
        with _parquet(path, described) as add:
            yield add
    else:
        raise InputError(f"{path} has the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)} for features")


@contextlib.contextmanager
def _npy(path: Path, described: dict[str, Any]) -> Iterator[Add]:
    """Write rows behind a header of fixed length, which is filled in when their number is known."""
    names: list[str] = []
    length = 0
    with atomic_write(path) as file, atomic_write(path.with_name(path.name + ".paths.json")) as beside:

        def add(picture: Path, features: Floats) -> None:
            nonlocal length
            if not names:
                length = len(features)
                file.write(npy_header(0, length))
            names.append(str(picture))
            file.write(features.astype("<f4").tobytes())

        yield add
        file.seek(0)
        file.write(npy_header(len(names), length))
        beside.write(json.dumps({**described, "paths": names}, indent=1).encode())


def npy_header(rows: int, length: int) -> bytes:
    """Return the header of a .npy file, version 1.0 (NumPy's format specification), 128 bytes for any shape."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {length}), }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


@contextlib.contextmanager
def _parquet(path: Path, described: dict[str, Any]) -> Iterator[Add]:
    """Write groups of rows with pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_package("pyarrow", "parquet", "features as Parquet") from None
    metadata = {"alexnet": json.dumps(described)}
    rows: list[tuple[str, Floats]] = []
    writer: Any = None
    with atomic_write(path) as file:

        def flush() -> None:
            nonlocal writer
            length = len(rows[0][1]) if rows else 0
            kinds = [("path", pyarrow.string()), ("features", pyarrow.list_(pyarrow.float32(), length))]
            schema = pyarrow.schema(kinds, metadata=metadata)
            writer = writer or pyarrow.parquet.ParquetWriter(file, schema)
            flat = np.concatenate([features for _, features in rows]) if rows else np.empty(0, dtype=np.float32)
            names = [name.encode("utf-8", "backslashreplace").decode() for name, _ in rows]
            layers = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), length or 1)
            if rows:
                writer.write_table(pyarrow.table([names, layers], schema=schema))
            rows.clear()

        def add(picture: Path, features: Floats) -> None:
            rows.append((str(picture), features))
            if len(rows) == GROUP:
                flush()

        yield add
        flush() if rows or writer is None else None
        writer.close()
