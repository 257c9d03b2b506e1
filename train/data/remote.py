"""Prepared data on object storage: fetched into a cache folder once, shard by shard, each held against its digest.

A URL such as s3://bucket/imagenet is opened by fsspec (extra `remote`, and the package of the protocol). A shard is
whole or absent in the cache, so a fetch that was stopped goes on; the index comes last, as in preparing, and names the
digests that the rest is held against.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from alexnet.errors import InputError, MissingPackageError, missing_package
from alexnet.files import atomic_write, cache_folder, read_json, sha256_of, write_json
from alexnet.prepared import INDEX, STATISTICS, check_index

BLOCK = 1 << 20
# An index or a shard's description of more bytes is not one: a description has some 150 bytes a picture.
LARGEST_TEXT = 256 << 20
# Times that a file is asked for, and the seconds between them, times the number of the attempt.
ATTEMPTS, PAUSE = 3, 1.0
# The index while what it names is not all there.
COMING = "index.coming.json"
WRONG = "it was changed or damaged on its way there: prepare and upload it again"


def is_url(data: str) -> bool:
    """Return whether data is named by a URL: a protocol and ://."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", data) is not None


def cached(url: str) -> Path:
    """Return the folder of the cache that holds the data of a URL."""
    last = re.sub(r"[^A-Za-z0-9._-]", "", url.rstrip("/").rpartition("/")[2])
    return cache_folder() / "data" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{last}"


@dataclass(frozen=True)
class Remote:
    """A folder of a file system that fsspec opened; `url` is how it was named."""

    url: str
    system: Any
    root: str

    def copy(self, name: str, out: Path, size: int | None = None, sha256: str | None = None) -> None:
        """Copy one file to `out`, atomically, of `size` bytes and with a digest where they are known.

        Raises InputError when it is not there or not allowed, cannot be read in ATTEMPTS attempts, or is not what was
        expected.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._copy(name, out, size, sha256)
                return
            except InputError:
                raise
            except FileNotFoundError:
                raise InputError(
                    f"{self.url} has no {name}; give the URL of a folder that alexnet data prepare wrote to the end"
                ) from None
            except PermissionError as error:
                raise InputError(
                    f"may not read {name} of {self.url} ({error}); give the protocol credentials that may"
                ) from None
            except Exception as error:
                # Each protocol raises errors of its own package.
                if attempt == ATTEMPTS:
                    raise InputError(
                        f"cannot copy {name} of {self.url} in {ATTEMPTS} attempts ({type(error).__name__}: {error}); "
                        "what was fetched is kept: run the same again once it can be reached"
                    ) from None
                time.sleep(PAUSE * attempt)

    def _copy(self, name: str, out: Path, size: int | None, sha256: str | None) -> None:
        """Copy one file in one attempt."""
        limit = LARGEST_TEXT if size is None else size
        digest, copied = hashlib.sha256(), 0
        with self.system.open(f"{self.root}/{name}", "rb") as source, atomic_write(out) as file:
            while block := source.read(BLOCK):
                copied += len(block)
                if copied > limit:
                    raise InputError(f"{name} of {self.url} has more than {limit:,} bytes, {WRONG}")
                digest.update(block)
                file.write(block)
            if size is not None and copied != size:
                raise InputError(f"{name} of {self.url} has {copied:,} bytes, expected {size:,}; {WRONG}")
            if sha256 is not None and digest.hexdigest() != sha256:
                raise InputError(
                    f"{name} of {self.url} has sha256 {digest.hexdigest()[:12]}..., the index says {sha256[:12]}...; "
                    f"{WRONG}"
                )


def open_remote(url: str) -> Remote:
    """Return the folder of a URL; MissingPackageError or InputError when its protocol cannot be spoken."""
    try:
        import fsspec.core
    except ImportError:
        raise missing_package("fsspec", "remote", f"data at {url}") from None
    try:
        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        # fsspec names the package that the protocol needs.
        raise MissingPackageError(f"data at {url} need another package ({error})") from None
    except Exception as error:
        raise InputError(
            f"cannot open {url} ({type(error).__name__}: {error}); give another URL, or a folder"
        ) from None
    return Remote(url, system, str(root).rstrip("/"))


def fetch(url: str, progress: Callable[[int, int], None]) -> Path:
    """Return the cached copy of the prepared data at `url`, with what is not there yet fetched, told in bytes.

    One process at a time fetches into a cache; others wait for it. Raises InputError for data that are unfinished, of
    another format, or differ from their digests, and when the disk has no room.
    """
    remote, out = open_remote(url), cached(url)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {out} ({error.strerror}); set XDG_CACHE_HOME to another folder") from None
    with FileLock(out.with_suffix(".lock")):
        remote.copy(INDEX, out / COMING)
        index = check_index(read_json(out / COMING), url)
        try:
            shards = [_Shard.of(shard) for shards in index["parts"].values() for shard in shards]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{url}/{INDEX} does not describe shards ({error}); prepare and upload it again") from None
        absent = [shard for shard in shards if not shard.is_whole(out)]
        if absent or not _same(out, index):
            # What has no index is unfinished: nothing takes a cache for whole that is between two versions.
            (out / INDEX).unlink(missing_ok=True)
            _fetch_shards(remote, absent, out, sum(shard.size for shard in shards), progress)
            remote.copy(STATISTICS, out / STATISTICS, sha256=index.get("statistics_sha256"))
            write_json(out / INDEX, index)
        (out / COMING).unlink()
    return out


def _same(out: Path, index: dict[str, Any]) -> bool:
    """Return whether a cache was finished from this very index."""
    return (out / INDEX).is_file() and read_json(out / INDEX) == index


def _fetch_shards(
    remote: Remote, absent: list[_Shard], out: Path, total: int, progress: Callable[[int, int], None]
) -> None:
    """Fetch the shards that are not there, the description of each last."""
    needed = sum(shard.size for shard in absent)
    if needed > (free := shutil.disk_usage(out).free):
        raise InputError(
            f"{remote.url} needs {needed / 1e9:.1f} GB more in {out}, where {free / 1e9:.1f} GB are free; make room, "
            "or set XDG_CACHE_HOME to a folder on a larger disk"
        )
    done = total - needed
    for shard in absent:
        described = out / shard.description
        described.unlink(missing_ok=True)
        remote.copy(shard.file, out / shard.file, shard.size, shard.sha256)
        remote.copy(shard.description, described, sha256=shard.described)
        if not shard.is_whole(out):
            described.unlink()
            raise InputError(f"{shard.description} of {remote.url} describes another shard; {WRONG}")
        done += shard.size
        progress(done, total)


@dataclass(frozen=True)
class _Shard:
    """What the index says of a shard: file, bytes, digest, and its description's digest where the index has one."""

    file: str
    size: int
    sha256: str
    described: str | None

    @staticmethod
    def of(values: dict[str, Any]) -> _Shard:
        """Return a shard of an index; ValueError when its file is not a shard's plain name."""
        file = str(values["file"])
        if not re.fullmatch(r"[a-z]+-\d+\.(raw|jpgs)", file):
            raise ValueError(f"{file!r} is not the name of a shard")
        described = values.get("described_sha256")
        return _Shard(file, int(values["bytes"]), str(values["sha256"]), None if described is None else str(described))

    @property
    def description(self) -> str:
        """The file of names, labels and offsets."""
        return Path(self.file).with_suffix(".json").name

    def is_whole(self, out: Path) -> bool:
        """Return whether a folder has this shard: it was held against its digest before its description came."""
        file, described = out / self.file, out / self.description
        if not described.is_file() or not file.is_file() or file.stat().st_size != self.size:
            return False
        if self.described is not None and sha256_of(described) != self.described:
            return False
        try:
            values = read_json(described)
        except InputError:
            return False
        return isinstance(values, dict) and values.get("sha256") == self.sha256
