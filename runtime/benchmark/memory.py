"""Peak memory of a model in a backend, measured in a process of its own that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from alexnet.runtime.backends import BackendOptions

_CHILD = """
import json, sys
from pathlib import Path
from alexnet.runtime.benchmark.memory import peaks_here
path, options, batches = json.loads(sys.argv[1])
print(json.dumps(peaks_here(Path(path), options, batches)))
"""


def peak_bytes() -> int | None:
    """Return the most memory this process has held, in bytes; None where the system does not say.

    Linux's own count for the process image is read: `getrusage` inherits its figure from the process that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _peak_by_rusage()
    found = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(found.split()[1]) * 1024 if found else _peak_by_rusage()


def _peak_by_rusage() -> int | None:
    """Return the peak as POSIX systems without /proc give it."""
    try:
        import resource
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def peaks(path: Path, options: BackendOptions, batches: Sequence[int]) -> dict[int, int]:
    """Return the peak memory in bytes of a fresh process that has run batches up to each size of `batches`.

    The memory is the host's, of Python and the runtime's libraries too. Sizes at which the process failed are left out.
    """
    values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    order = json.dumps([str(path), values, sorted(batches)])
    done = subprocess.run([sys.executable, "-c", _CHILD, order], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    return {int(batch): peak for batch, peak in json.loads(done.stdout.splitlines()[-1])}


def peaks_here(path: Path, values: dict[str, object], batches: Sequence[int]) -> list[tuple[int, int]]:
    """Open a model in this process, run each batch size in turn, and return the sizes with the peaks after them."""
    import numpy as np

    from alexnet.errors import AlexNetError
    from alexnet.runtime.backends import open_backend

    places = {
        key: Path(str(value))
        for key, value in values.items()
        if key in ("like", "labels", "cache") and value is not None
    }
    backend = open_backend(path, BackendOptions(**(values | places)))  # type: ignore[arg-type]
    side, found = backend.metadata.preprocessing.side, []
    for batch in batches:
        try:
            backend.probabilities(np.zeros((batch, side, side, 3), dtype=np.uint8))
        except AlexNetError:
            break
        if (peak := peak_bytes()) is not None:
            found.append((batch, peak))
    return found
