"""The sidecar of a TensorRT plan: what is known of `model.plan`, in `model.plan.json` beside it.

The plan's bytes stay pure, so that trtexec and any other tool can load them. The sidecar is read and checked
before anything of the plan is deserialised.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet.errors import InputError, ModelError, SidecarError
from alexnet.files import read_json, sha256_of, write_json
from alexnet.metadata import ModelMetadata

FORMAT = 2


@dataclass(frozen=True)
class Profile:
    """The batch sizes, in pictures, that an engine takes and the one it is tuned for."""

    smallest: int
    best: int
    largest: int


@dataclass(frozen=True)
class Verification:
    """Whether the parity pack was run through a plan, how or why not, and the figures it gave."""

    verified: bool
    reason: str
    parity: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sidecar:
    """Facts of one plan.

    `module` is the Python module that built it and must load it, `tensorrt` or `tensorrt_rtx`, in version
    `tensorrt_version`; `compute_capabilities` are those it runs on, such as "8.9", or "8.0+" for that and later ones;
    `gpu_name` the GPU it was built on, if there was one; `precision` that of the ONNX, `layers` that of each of its
    layers; `options` what it was built with (`alexnet.export.build_options`); `verified` whether the parity pack has
    been run through it, `verified_reason` how or why not, and `parity` the figures; `metadata` what the ONNX says of
    itself.
    """

    module: str
    tensorrt_version: str
    plan_sha256: str
    plan_bytes: int
    onnx_sha256: str
    onnx_name: str
    target: str
    compute_capabilities: tuple[str, ...]
    gpu_name: str | None
    precision: str
    profile: Profile
    input_name: str
    output_name: str
    verified: bool
    verified_reason: str
    metadata: ModelMetadata
    layers: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)

    def proven(self, verification: Verification) -> Sidecar:
        """Return the sidecar with what became of the parity pack."""
        return dataclasses.replace(
            self, verified=verification.verified, verified_reason=verification.reason, parity=verification.parity
        )

    def runs_on(self, capability: str) -> bool:
        """Return whether the plan was built for a compute capability such as 8.9."""
        wanted = _numbers(capability)
        return any(
            wanted >= _numbers(entry[:-1]) if entry.endswith("+") else entry == capability
            for entry in self.compute_capabilities
        )

    def to_values(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, with the format's number."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["compute_capabilities"] = list(self.compute_capabilities)
        values["profile"] = dataclasses.asdict(self.profile)
        values["metadata"] = self.metadata.to_values()
        return {"format": FORMAT, **values}

    def save(self, path: Path) -> None:
        """Write the sidecar as JSON, atomically."""
        write_json(path, self.to_values())

    @staticmethod
    def load(plan: Path) -> Sidecar:
        """Return the sidecar of a plan; SidecarError when it is missing, damaged or of another format."""
        path = sidecar_beside(plan)
        if not path.is_file():
            raise SidecarError(
                f"{plan} has no sidecar {path.name} beside it, so its labels and preprocessing are unknown; "
                "build it again with: alexnet build MODEL.onnx"
            )
        try:
            values = read_json(path)
        except InputError as error:
            raise _damaged(path, error.message) from None
        if not isinstance(values, dict) or type(values.get("format")) is not int or values["format"] != FORMAT:
            raise SidecarError(f"{path} is not a sidecar of format {FORMAT}; build again: alexnet build MODEL.onnx")
        return _sidecar_from_values({key: value for key, value in values.items() if key != "format"}, path)

    def check_digest(self, plan: Path) -> None:
        """Raise SidecarError when the bytes of `plan` are not those the sidecar describes."""
        digest = sha256_of(plan)
        if digest != self.plan_sha256:
            raise SidecarError(
                f"{plan} has sha256 {digest[:12]}..., its sidecar says {self.plan_sha256[:12]}...: one of the two was "
                f"replaced or is truncated; build it again with: alexnet build {self.onnx_name}"
            )


def sidecar_beside(plan: Path) -> Path:
    """Return where the sidecar of a plan stands: `model.plan.json` beside `model.plan`."""
    return plan.with_name(plan.name + ".json")


def _numbers(capability: str) -> tuple[int, ...]:
    """Return 12.0 as (12, 0), which is later than (8, 9)."""
    return tuple(int(part) for part in capability.split("."))


def _sidecar_from_values(values: dict[str, Any], path: Path) -> Sidecar:
    """Return the sidecar in a JSON object; SidecarError for a field that is missing, unknown or of another type."""
    names = [field.name for field in dataclasses.fields(Sidecar)]
    if different := sorted(set(names) ^ set(values)):
        raise _damaged(path, f"missing or unknown: {', '.join(different)}")
    for name, value in values.items():
        if not _fits(name, value):
            raise _damaged(path, f"{name} is {value!r}")
    try:
        metadata = ModelMetadata.from_values(values["metadata"], str(path))
    except ModelError as error:
        raise _damaged(path, error.message) from None
    profile = Profile(**values["profile"])
    return Sidecar(
        **{
            **values,
            "metadata": metadata,
            "profile": profile,
            "compute_capabilities": tuple(values["compute_capabilities"]),
        }
    )


def _fits(name: str, value: Any) -> bool:
    """Return whether a JSON value is what the field `name` holds."""
    match name:
        case "metadata":
            return isinstance(value, dict)
        case "profile":
            sizes = [field.name for field in dataclasses.fields(Profile)]
            return (
                isinstance(value, dict)
                and set(value) == set(sizes)
                and all(type(size) is int for size in value.values())
                and 1 <= value["smallest"] <= value["best"] <= value["largest"]
            )
        case "compute_capabilities":
            return isinstance(value, list) and all(
                isinstance(entry, str) and re.fullmatch(r"\d+\.\d\+?", entry) for entry in value
            )
        case "layers":
            return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())
        case "options" | "parity":
            return isinstance(value, dict)
        case "plan_bytes":
            return type(value) is int
        case "verified":
            return isinstance(value, bool)
        case "gpu_name":
            return value is None or isinstance(value, str)
        case _:
            return isinstance(value, str)


def _damaged(path: Path, reason: str) -> SidecarError:
    """Return the error for a sidecar that cannot be used."""
    return SidecarError(f"{path} is damaged ({reason}); build again with: alexnet build MODEL.onnx")
