"""Which of the two TensorRT modules builds, and the few things in which they differ.

`tensorrt` (datacentre and all other GPUs) builds on the GPU that will run the engine. `tensorrt_rtx` builds ahead
of time for RTX cards, with no GPU present. Their Python APIs agree, so one builder serves both.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from alexnet.errors import BuildError, DeviceError, missing_package
from alexnet.gpu import find_gpus

Target = Literal["gpu", "rtx"]


@dataclass(frozen=True)
class TensorRTModule:
    """One target's module, the extra that installs it, and whether it builds for capabilities it is told."""

    name: str
    extra: str
    ahead_of_time: bool


MODULES: dict[Target, TensorRTModule] = {
    "gpu": TensorRTModule("tensorrt", "gpu", ahead_of_time=False),
    "rtx": TensorRTModule("tensorrt_rtx", "rtx", ahead_of_time=True),
}

# Turing (sm75) is left out by default: its compiler has no float32 matrix product.
DEFAULT_COMPUTE = ("sm80", "sm86", "sm89", "sm120")


@dataclass(frozen=True)
class TargetChoice:
    """A target and the reason for it, in words."""

    target: Target
    reason: str


def choose_target(asked: str | None) -> TargetChoice:
    """Return the target: the one asked for, else `gpu` where a GPU and tensorrt are, else `rtx`.

    Raises DeviceError when `gpu` is asked for and no GPU is here.
    """
    search = find_gpus()
    if asked == "rtx":
        return TargetChoice("rtx", "asked for; tensorrt-rtx builds ahead of time and needs no GPU")
    if asked == "gpu":
        if not search.gpus:
            raise DeviceError(
                f"--target gpu needs an NVIDIA GPU, and {search.reason}; "
                "build ahead of time for RTX cards with --target rtx"
            )
        return TargetChoice("gpu", f"asked for; {search.reason}")
    if search.gpus and importlib.util.find_spec("tensorrt") is not None:
        return TargetChoice("gpu", search.reason)
    if search.gpus:
        return TargetChoice("rtx", f"{search.reason}, but tensorrt is not installed; for datacentre GPUs install it")
    return TargetChoice("rtx", f"{search.reason}; tensorrt-rtx builds ahead of time for RTX cards")


def import_module(target: Target) -> ModuleType:
    """Return the target's module; MissingPackageError names the extra that installs it."""
    module = MODULES[target]
    try:
        return importlib.import_module(module.name)
    except ImportError:
        raise missing_package(module.name.replace("_", "-"), module.extra, f"building for --target {target}") from None


def parse_compute(text: str | None, target: Target = "rtx") -> tuple[str, ...]:
    """Return the names in `sm89,sm120`, each once, or the default ones; BuildError for what is no such name.

    The target gpu builds for the GPU that is here and takes no names.
    """
    if text is None:
        return DEFAULT_COMPUTE
    if not MODULES[target].ahead_of_time:
        raise BuildError(
            f"--compute {text!r} has no meaning for --target {target}, which builds for the GPU that is here; "
            "leave it out or add --target rtx"
        )
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in names:
        if not (name.startswith("sm") and name[2:].isdigit()):
            raise BuildError(f"--compute {name!r} is no compute capability, expected names such as sm89,sm120")
    return names


def capability_of(name: str) -> str:
    """Return sm89 as 8.9 and sm120 as 12.0: the driver's way of writing it."""
    digits = name[2:]
    return f"{digits[:-1]}.{digits[-1]}"


def set_compute(trt: Any, config: Any, names: tuple[str, ...]) -> None:
    """Tell tensorrt-rtx the capabilities to build for; BuildError names those it takes when one is unknown."""
    known = {name.lower(): value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    for name in names:
        if name not in known:
            raise BuildError(
                f"tensorrt-rtx {trt.__version__} does not build for {name}, it takes {', '.join(known)}; "
                "datacentre GPUs take --target gpu"
            )
    config.num_compute_capabilities = len(names)
    for place, name in enumerate(names):
        config.set_compute_capability(known[name], place)
