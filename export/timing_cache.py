"""The timing cache: what TensorRT measured of its tactics, kept for the next build on the same GPU.

A file a GPU and a version, in the user's cache folder. Two builders may share it: each reads it under a lock, and each
adds what it measured to what stands there by then. TensorRT API: ITimingCache.combine, serialize.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from alexnet.errors import InputError
from alexnet.files import cache_folder, write_bytes
from alexnet.gpu import Gpu
from alexnet.tensorrt_api import Config, Log, TensorRT, TimingCache

# Reading and writing take milliseconds: who waits longer than this waits for a process that hangs.
LOCK_SECONDS = 60.0


def default_timing_cache(trt: TensorRT, gpu: Gpu) -> Path:
    """Return the user's file of timings for a GPU and a version: other ones' would be refused or mislead."""
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    capability = gpu.capability.replace(".", "")
    return cache_folder() / "timing" / f"{trt.__name__}-{trt.__version__}-{name}-sm{capability}.cache"


def load_timings(config: Config, path: Path, log: Log, say: Callable[[str], None]) -> None:
    """Give a build the timings in a file; one that is damaged or another GPU's is left out, and `say` is told.

    Raises InputError when the folder cannot be used or another process holds the file.
    """
    with _locked(path):
        data = path.read_bytes() if path.is_file() else b""
    if data:
        warned = len(log.warnings)
        cache = config.create_timing_cache(data)
        damaged = cache is None or any("timing cache" in warning.lower() for warning in log.warnings[warned:])
        if cache is not None and not damaged and config.set_timing_cache(cache, False):
            return
        what = "is damaged" if damaged else "is of another GPU or version"
        say(f"warning: the timing cache {path} {what}; it is made anew, so this build takes longer")
    empty = config.create_timing_cache(b"")
    if empty is not None:
        config.set_timing_cache(empty, False)


def save_timings(config: Config, path: Path, log: Log) -> None:
    """Write what a build measured, together with what other builders have written since it began."""
    measured = config.get_timing_cache()
    if measured is None:
        return
    with _locked(path):
        _add(config, measured, path, log)
        write_bytes(path, bytes(measured.serialize()))


def _add(config: Config, measured: TimingCache, path: Path, log: Log) -> None:
    """Add the timings in a file to those measured, unless they are damaged or another GPU's."""
    if not path.is_file():
        return
    warned = len(log.warnings)
    there = config.create_timing_cache(path.read_bytes())
    if there is not None and not any("timing cache" in warning.lower() for warning in log.warnings[warned:]):
        measured.combine(there, False)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; InputError when the folder cannot be used or another process holds it for long."""
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another process has held {path} for {LOCK_SECONDS:.0f} s; end it, or build with --no-timing-cache"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot use the timing cache {path}: {error.strerror or error}; give another with --timing-cache"
        ) from None
    try:
        yield
    finally:
        lock.release()
