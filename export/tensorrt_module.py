"""Which of the two TensorRT modules builds, and the few things in which they differ.

`tensorrt` (datacentre and all other GPUs) builds on the GPU that will run the engine. `tensorrt_rtx` builds ahead
of time for RTX cards, with no GPU present. Their Python APIs agree, so one builder serves both, in versions 10 and 11
of the former: only what both versions have is called.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from alexnet.errors import BuildError, DeviceError, missing_package
from alexnet.export.build_options import BuildOptions
from alexnet.gpu import find_gpus
from alexnet.tensorrt_api import Config, TensorRT

Target = Literal["gpu", "rtx"]


@dataclass(frozen=True)
class TensorRTModule:
    """One target's module: the extra that installs it, and what it has not.

    `ahead_of_time` says whether it builds for the capabilities it is told, else for the GPU that is here; `lacks`
    are the fields of BuildOptions that it does not serve, each with what to do instead.
    """

    name: str
    extra: str
    ahead_of_time: bool
    lacks: Mapping[str, str] = field(default_factory=dict)


MODULES: dict[Target, TensorRTModule] = {
    "gpu": TensorRTModule("tensorrt", "gpu", ahead_of_time=False),
    "rtx": TensorRTModule(
        "tensorrt_rtx",
        "rtx",
        ahead_of_time=True,
        lacks={
            "timing_cache": "it times nothing while it builds: leave the switch out",
            "hardware_compatible": "name the capabilities instead: --compute sm80,sm86,sm89,sm120",
            "version_compatible": "it has no lean runtime: build again with each version",
        },
    ),
}

# Members of BuilderFlag that a switch needs. A plan that carries its lean runtime carries host code, which is never
# loaded: it is left out, and the machine's own lean runtime serves the plan.
FLAGS: dict[str, tuple[str, ...]] = {
    "version_compatible": ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"),
    "strip_weights": ("STRIP_PLAN", "REFIT_IDENTICAL"),
}

# Turing (sm75) is left out by default: its compiler has no float32 matrix product. FP8 begins with Ada.
DEFAULT_COMPUTE = ("sm80", "sm86", "sm89", "sm120")
FP8_COMPUTE = ("sm89", "sm120")


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


def import_module(target: Target) -> TensorRT:
    """Return the target's module; MissingPackageError names the extra that installs it."""
    module = MODULES[target]
    try:
        return cast(TensorRT, importlib.import_module(module.name))
    except ImportError:
        raise missing_package(module.name.replace("_", "-"), module.extra, f"building for --target {target}") from None


def check_options(target: Target, options: BuildOptions) -> None:
    """Raise BuildError, with what to do instead, for a switch that the target's module does not serve."""
    module = MODULES[target]
    for name, switch in options.asked().items():
        if name in module.lacks:
            raise BuildError(f"{module.name} does not serve {switch}; {module.lacks[name]}")
    if options.compute is not None and not module.ahead_of_time:
        raise BuildError(
            f"--compute {','.join(options.compute)!r} has no meaning for --target {target}, which builds for the GPU "
            "that is here; leave it out or add --target rtx"
        )


def apply_options(trt: TensorRT, config: Config, options: BuildOptions) -> None:
    """Set what was asked for on a builder's configuration; BuildError for what this version of the module lacks."""
    # float32 is what the ONNX says: TensorFloat-32, which TensorRT allows by default, rounds products to 10 bits.
    config.clear_flag(_member(trt, "BuilderFlag", "TF32"))
    if options.opt_level is not None:
        config.builder_optimization_level = options.opt_level
    if options.workspace is not None:
        config.set_memory_pool_limit(_member(trt, "MemoryPoolType", "WORKSPACE"), options.workspace << 20)
    for name, flags in FLAGS.items():
        if getattr(options, name):
            for flag in flags:
                config.set_flag(_member(trt, "BuilderFlag", flag))
    if options.hardware_compatible:
        config.hardware_compatibility_level = _member(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS")


def network_flags(trt: TensorRT) -> int:
    """Return the flags of a strongly typed network: 10 asks for it; 11 and rtx know no other and accept it."""
    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strong is None else 1 << int(strong)


def _member(trt: TensorRT, enumeration: str, name: str) -> Any:
    """Return a member of one of the module's enumerations; BuildError, naming both, when it is not there."""
    found = getattr(getattr(trt, enumeration, None), name, None)
    if found is None:
        raise BuildError(
            f"{trt.__name__} {trt.__version__} has no {enumeration}.{name}, which this build needs; leave the switch "
            "out, or install the version in constraints.txt"
        )
    return found


def default_compute(precision: str) -> tuple[str, ...]:
    """Return the capabilities that rtx builds a model of a precision for when none are named."""
    return FP8_COMPUTE if precision == "fp8" else DEFAULT_COMPUTE


def parse_compute(text: str) -> tuple[str, ...]:
    """Return the names in `sm89,sm120`, each once; BuildError for what is no such name."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in names:
        if not (name.startswith("sm") and name[2:].isdigit() and len(name) > 3):
            raise BuildError(f"--compute {name!r} is no compute capability, expected names such as sm89,sm120")
    return names


def capability_of(name: str) -> str:
    """Return sm89 as 8.9 and sm120 as 12.0: the driver's way of writing it."""
    digits = name[2:]
    return f"{digits[:-1]}.{digits[-1]}"


def set_compute(trt: Any, config: Config, names: tuple[str, ...]) -> None:
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
