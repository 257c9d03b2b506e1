"""What a build is asked for: the switches of `alexnet build`, one dataclass for every part that builds the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import BuildError
from alexnet.sidecar import Profile

DEFAULT_PROFILE = Profile(1, 8, 32)
OPT_LEVELS = range(6)


@dataclass(frozen=True)
class BuildOptions:
    """The form of an engine, and what its build may use.

    `profile` are the batches in pictures, None for the model's own when it is fixed, else 1, 8 and 32; `compute` the
    capabilities (sm89, ...) that the target rtx builds for, None for its default; `precision` what the model is
    expected to be in, None for whatever it is; `opt_level` 0 to 5, how long tactics are searched, None for TensorRT's
    own; `workspace` the most scratch memory in MiB, None for all of the GPU's. `version_compatible` makes a plan for
    later versions' lean runtime, `hardware_compatible` one for every GPU from Ampere on; `strip_weights` leaves the
    weights out, to be taken from the model when the plan is loaded. `timing_cache` is the file of measured tactics,
    None for the user's own, `keep_timings` false for none; `verify` runs the parity pack where a GPU is.
    """

    profile: Profile | None = None
    compute: tuple[str, ...] | None = None
    precision: str | None = None
    opt_level: int | None = None
    workspace: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    strip_weights: bool = False
    timing_cache: Path | None = None
    keep_timings: bool = True
    verify: bool = True

    def __post_init__(self) -> None:
        """Refuse what no module takes (BuildError)."""
        if self.opt_level is not None and self.opt_level not in OPT_LEVELS:
            raise BuildError(f"--opt-level {self.opt_level} is no level, expected 0 to {OPT_LEVELS[-1]}")
        if self.workspace is not None and self.workspace < 1:
            raise BuildError(f"--workspace {self.workspace} MiB is no room, expected 1 or more; leave it out for all")
        if self.timing_cache is not None and not self.keep_timings:
            raise BuildError("--timing-cache and --no-timing-cache exclude each other; leave one out")

    def asked(self) -> dict[str, str]:
        """Return the switches that not every module has and that were asked for, each by its field."""
        switches = {
            "version_compatible": "--version-compatible",
            "hardware_compatible": "--hardware-compatible",
            "strip_weights": "--strip-weights",
            "timing_cache": "--timing-cache",
            "workspace": "--workspace",
        }
        return {name: switch for name, switch in switches.items() if getattr(self, name)}

    def to_values(self) -> dict[str, Any]:
        """Return what of the options shapes the plan, as plain JSON values for the sidecar."""
        names = ("opt_level", "workspace", "version_compatible", "hardware_compatible", "strip_weights")
        return {name: getattr(self, name) for name in names}


def parse_batch(text: str) -> Profile:
    """Return `min,opt,max` (or one number for all three) as a profile; BuildError when they do not rise."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    if len(numbers) != 3 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
        raise BuildError(f"--batch {text!r} is no profile, expected MIN,OPT,MAX such as 1,8,32")
    return Profile(*numbers)


def chosen_profile(asked: Profile | None, fixed: int | None, model: str) -> Profile:
    """Return the batches of a model whose batch is `fixed`, or dynamic when None; BuildError when the two conflict."""
    if fixed is None:
        return asked or DEFAULT_PROFILE
    own = Profile(fixed, fixed, fixed)
    if asked not in (None, own):
        raise BuildError(
            f"{model} takes batches of {fixed} and no others, --batch {asked.smallest},{asked.best},{asked.largest} "
            f"was asked for; leave it out, or export again with: alexnet export --onnx --batch dynamic"
        )
    return own
