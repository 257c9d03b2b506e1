"""The machine in words: processor, cores, what of its arithmetic matters, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

# What the processor may have that changes the figures, as Linux names it.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx", "numpy", "pillow")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Return the processor, its cores and vector instructions, and the versions installed, as JSON values."""
    model, flags = _processor()
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": cores(),
        "instructions": [name for name in FLAGS if name in flags],
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    """Return the processor's name and flags as Linux gives them, empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", set()
    entries = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in entries.items()}
    return fields.get("model name", ""), set(fields.get("flags", "").split())
