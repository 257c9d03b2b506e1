"""Which backend opens a model: the one asked for, or the first usable one of the table, with the reason in words."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet.errors import DeviceError, MissingPackageError, ModelError, SidecarError, missing_package
from alexnet.files import require_file
from alexnet.runtime.backends.interface import Backend, BackendOptions
from alexnet.runtime.backends.table import (
    BACKENDS,
    CPU,
    GPU,
    LEAN,
    NAMES,
    BackendInfo,
    find_backend,
    importable,
    missing,
)
from alexnet.sidecar import Sidecar, sidecar_beside

DEFAULT = BackendOptions()


@dataclass(frozen=True)
class Choice:
    """The backend that opens a model, and why it."""

    info: BackendInfo
    reason: str


def open_backend(path: Path, options: BackendOptions = DEFAULT, say: Callable[[str], None] | None = None) -> Backend:
    """Return the model in `path`, loaded by the backend of `options`, or by the best one here.

    `say` is told which backend was chosen and why. Raises InputError for a missing file, ModelError for a suffix or a
    file that no backend reads, and what the backend itself raises (MissingPackageError, DeviceError, SidecarError).
    """
    require_file(path, "write one with: alexnet export --onnx, or alexnet build model.onnx")
    choice = choose_backend(path, options)
    if say:
        say(f"{path}: {choice.info.name} ({choice.reason})")
    return _opener(choice.info)(path, replace(options, name=choice.info.name))


def choose_backend(path: Path, options: BackendOptions = DEFAULT) -> Choice:
    """Return the backend for a model file; ModelError for a suffix or a backend that do not go together."""
    readers = [info for info in BACKENDS if path.suffix.lower() in info.suffixes]
    if not readers:
        known = ", ".join(f"{suffix} ({', '.join(names)})" for suffix, names in _suffixes().items())
        raise ModelError(f"{path} is no model by its suffix, expected {known}; write one with: alexnet export --onnx")
    if options.name is not None:
        return _asked(path, options, readers)
    if ".plan" in readers[0].suffixes:
        return _of_plan(path, options, readers)
    wanted = [info for info in readers if not options.precision or _chooses_precision(info)] or readers
    reasons: list[str] = []
    for info in wanted:
        if not (reason := missing(info)):
            passed = f"; passed over: {'; '.join(reasons)}" if reasons else ""
            return Choice(info, f"the first of the table that is usable here{passed}")
        reasons.append(f"{info.name}, {reason}")
    names = " or ".join(info.install for info in wanted if info.device == CPU)
    raise MissingPackageError(f"no backend for {path} is usable here ({'; '.join(reasons)}); run: {names}")


def _asked(path: Path, options: BackendOptions, readers: list[BackendInfo]) -> Choice:
    """Return the backend that was asked for, or the CPU in its place where that is allowed."""
    if options.name not in NAMES:
        raise ModelError(f"there is no backend {options.name!r}, expected one of {', '.join(NAMES)}")
    info = find_backend(options.name)
    if info not in readers:
        names = ", ".join(reader.name for reader in readers)
        raise ModelError(f"{info.name} reads {' and '.join(info.suffixes)}, not {path}; give --backend {names}")
    reason = missing(info)
    if reason and options.allow_cpu and info.device == GPU and path.suffix.lower() == ".onnx":
        stand_in = next((other for other in readers if other.device == CPU and not missing(other)), None)
        if stand_in:
            return Choice(stand_in, f"--allow-cpu, in place of {info.name}: {reason}")
    if reason.endswith("not installed"):
        raise missing_package(reason.removesuffix(" not installed"), info.extra, f"the backend {info.name}")
    if reason and info.provider:
        raise DeviceError(
            f"{info.name} was asked for and is not to be had: {reason}; leave --backend out, or accept the CPU "
            "with --allow-cpu"
        )
    # A plan's own checks say more: they name the GPU it was built for.
    return Choice(info, _bare(options) if _is_bare(path, options) else "asked for")


def _of_plan(path: Path, options: BackendOptions, readers: list[BackendInfo]) -> Choice:
    """Return the backend whose module built a plan, as its sidecar says."""
    if _is_bare(path, options):
        return Choice(next((info for info in readers if not missing(info)), readers[0]), _bare(options))
    sidecar = Sidecar.load(path)
    module = sidecar.module
    modules = {info.modules[0][0]: info for info in readers if info.name != LEAN}
    if module not in modules:
        raise SidecarError(f"the sidecar names the module {module!r}, expected one of {', '.join(modules)}")
    lean = find_backend(LEAN)
    compatible = module == "tensorrt" and sidecar.options.get("version_compatible")
    if compatible and not importable(module) and importable(lean.modules[0][0]):
        return Choice(lean, "version-compatible, and tensorrt itself is not installed")
    return Choice(modules[module], f"built by {module}")


def _is_bare(path: Path, options: BackendOptions) -> bool:
    """Return whether a file is a plan without a sidecar that is to be trusted."""
    return options.trust and path.suffix.lower() != ".onnx" and not sidecar_beside(path).is_file()


def _bare(options: BackendOptions) -> str:
    """Return the warning that goes with such a plan."""
    return "warning: it has no sidecar, nothing proves what it was built from, and a plan is code"


def _chooses_precision(info: BackendInfo) -> bool:
    """Return whether a backend can compute in another precision than the model's own."""
    return info.name.startswith("openvino")


def _suffixes() -> dict[str, list[str]]:
    """Return the backends by the suffix they read."""
    found: dict[str, list[str]] = {}
    for info in BACKENDS:
        for suffix in info.suffixes:
            found.setdefault(suffix, []).append(info.name)
    return found


def _opener(info: BackendInfo) -> Callable[[Path, BackendOptions], Backend]:
    """Import and return a backend's opener; MissingPackageError when what it runs on is not installed."""
    module, function = info.opener.split(":")
    try:
        opener: Callable[[Path, BackendOptions], Backend] = getattr(importlib.import_module(module), function)
    except ImportError:
        raise missing_package(info.packages[0], info.extra, f"the backend {info.name}") from None
    return opener
