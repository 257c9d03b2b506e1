"""A plan that was built without its weights takes them from the ONNX model it was built of, when it is loaded.

TensorRT API: Refitter, OnnxParserRefitter.refit_from_file, Refitter.refit_cuda_engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import DeviceError, InputError, SidecarError
from alexnet.external import check_external_data, load_model
from alexnet.files import sha256_of
from alexnet.sidecar import Sidecar


@dataclass(frozen=True)
class Weights:
    """The ONNX model that holds a plan's weights, and the digest that it must have."""

    model: Path
    sha256: str


def weights_of(sidecar: Sidecar, plan: Path, like: Path | None) -> Weights | None:
    """Return where a plan's weights are: in `like`, else in the model of the sidecar's name beside the plan.

    None when the plan holds them itself. Raises InputError for a model that is not there, SidecarError for another.
    """
    if sidecar.options.get("strip_weights") is not True:
        return None
    model = like or plan.with_name(sidecar.onnx_name)
    if not model.is_file():
        raise InputError(
            f"{plan} was built without its weights, and the model that holds them, {model}, is not there; copy it "
            f"beside the plan, or name it with: --like {sidecar.onnx_name}"
        )
    if (found := sha256_of(model)) != sidecar.onnx_sha256:
        raise SidecarError(
            f"{model} has sha256 {found[:12]}..., {plan} was built of {sidecar.onnx_sha256[:12]}... and takes its "
            f"weights from it; build it again with: alexnet build {model} --strip-weights"
        )
    check_external_data(load_model(model), model)
    return Weights(model, sidecar.onnx_sha256)


def refit(trt: Any, engine: Any, log: Any, weights: Weights, plan: Path) -> None:
    """Give an engine its weights; DeviceError when TensorRT refuses them."""
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(weights.model)) or not refitter.refit_cuda_engine():
        raise DeviceError(
            f"{plan} does not take its weights from {weights.model} ({log.last()}); build it again with: alexnet "
            f"build {weights.model}"
        )
