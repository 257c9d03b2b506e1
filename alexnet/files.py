"""Files that are whole or absent: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alexnet.errors import InputError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` only when the block ends without an error.

    The bytes go to a temporary file in the same folder, are fsynced, and the file is renamed over
    `path`; a reader sees the old file or the new one, never a part. Parent folders are made.

    Raises InputError when the folder cannot be written. The file's `name` is its path, for
    libraries that write by name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}, choose another folder") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def require_file(model: Path, mend: str) -> None:
    """Raise InputError, which ends with how to `mend` it, unless a model is a file."""
    if not model.is_file():
        what = "is a folder, not a model" if model.is_dir() else "does not exist"
        raise InputError(f"{model} {what}; {mend}")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path` that becomes `path`, absent or empty before, only when the block ends well.

    Its files are fsynced before it is renamed. Raises InputError when it cannot be written, a file's bytes do not reach
    the disk, or the place was taken.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}, choose another folder") from error
    try:
        yield folder
        for below in folder.rglob("*"):
            if below.is_dir():
                fsync_folder(below)
            else:
                fsync_file(below)
        fsync_folder(folder)
        folder.chmod(0o777 & ~umask())
        folder.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; mend that, or choose another folder") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fsync_folder(path.parent)


def umask() -> int:
    """Return the process's umask; mkstemp makes private files, and a model is meant to be shared."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def fsync_file(path: Path) -> None:
    """Bring the bytes of a file that was written and closed to disk; OSError when they do not get there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system lets a folder be opened and flushed."""
    with contextlib.suppress(OSError):
        fsync_file(folder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically; NaN and infinity are refused."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`; InputError when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"cannot read {path} as JSON: {error}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits, read a megabyte at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the user's folder for what can be made again: XDG_CACHE_HOME or ~/.cache, then alexnet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alexnet"
