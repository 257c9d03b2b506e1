"""From ONNX to a TensorRT engine: the plan's pure bytes, and the sidecar that says what they are.

Networks are strongly typed: precision is what the ONNX says, nothing is lowered behind its back.
TensorRT API: Builder, OnnxParser, IBuilderConfig, IOptimizationProfile, build_serialized_network.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import onnx

from alexnet.errors import BuildError, InputError, ModelError
from alexnet.export.tensorrt_module import (
    MODULES,
    Target,
    capability_of,
    choose_target,
    import_module,
    parse_compute,
    set_compute,
)
from alexnet.files import write_bytes
from alexnet.gpu import find_gpus
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.ops.tensorrt_plugin import register_plugin
from alexnet.sidecar import Profile, Sidecar, sidecar_beside
from alexnet.tensorrt_log import tensorrt_log

__all__ = ["choose_target", "engine_from_onnx", "parse_batch", "parse_compute"]


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


def engine_from_onnx(model: Path, plan: Path, target: Target, profile: Profile, compute: tuple[str, ...]) -> Sidecar:
    """Build `plan` from an ONNX model of this toolchain, write it and its sidecar, and return the sidecar.

    `compute` (sm89, ...) counts for the target rtx; the target gpu builds for the GPU that is here. Raises
    ModelError for another's model, MissingPackageError, and BuildError when the parser or the builder refuses.
    """
    data, metadata = read_model(model)
    _check_place(model, plan)
    trt = import_module(target)
    if metadata.lrn == "plugin":
        register_plugin(trt)
    log = tensorrt_log(trt)
    builder = trt.Builder(log)
    # TensorRT 10 asks for the flag; 11 and tensorrt-rtx know strong typing only and accept it.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(data):
        raise BuildError(_parser_refusal(parser, model))
    config = builder.create_builder_config()
    # float32 is what the ONNX says: TensorFloat-32, which TensorRT allows by default, rounds products to 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    shape = tuple(network.get_input(0).shape)[1:]
    profiles = builder.create_optimization_profile()
    profiles.set_shape(INPUT, *((batch, *shape) for batch in (profile.smallest, profile.best, profile.largest)))
    config.add_optimization_profile(profiles)
    gpus = find_gpus().gpus
    if MODULES[target].ahead_of_time:
        set_compute(trt, config, compute)
        capabilities = tuple(capability_of(name) for name in compute)
    else:
        capabilities = (gpus[0].capability,)
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise BuildError(_builder_refusal(log, model, trt.__name__))
    return _write(model, data, plan, bytes(serialised), target, trt.__version__, capabilities, profile, metadata)


def read_model(model: Path) -> tuple[bytes, ModelMetadata]:
    """Return a model's bytes and its metadata; InputError or ModelError when it is not one of ours."""
    if not model.is_file():
        what = "is a folder, not a model" if model.is_dir() else "does not exist"
        raise InputError(f"{model} {what}; write one with: alexnet export --onnx")
    data = model.read_bytes()
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:
        # onnx passes on whatever protobuf raises, which differs between its versions.
        raise ModelError(f"{model} is not an ONNX model ({error}); write one with: alexnet export --onnx") from None
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    metadata = ModelMetadata.from_properties(properties, str(model))
    if [entry.name for entry in proto.graph.input] != [INPUT] or [entry.name for entry in proto.graph.output] != [
        OUTPUT
    ]:
        raise ModelError(f"{model} does not take {INPUT!r} to {OUTPUT!r}; export it again with: alexnet export --onnx")
    return data, metadata


def _check_place(model: Path, plan: Path) -> None:
    """Raise InputError when writing `plan` or its sidecar would replace the model or a folder."""
    for path in (plan, sidecar_beside(plan)):
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected a file for the plan; write: -o {path / 'model.plan'}")
        if path.resolve() == model.resolve():
            raise InputError(f"{path} is the model itself, which the plan would replace; give another file with -o")


def _parser_refusal(parser: Any, model: Path) -> str:
    """Return the parser's first error as one line: node, reason, what to change."""
    error = parser.get_error(0)
    node = f"node {error.node_name()!r} ({error.node_operator()})" if error.node_operator() else "the model"
    return (
        f"TensorRT's parser refuses {node} of {model}: {error.desc()}; replace the operator, or export again with: "
        "alexnet export --onnx"
    )


def _builder_refusal(log: Any, model: Path, module: str) -> str:
    """Return the builder's last error as one line, with the change that helps where it is known."""
    said = log.last()
    if "Turing" in said:
        hint = "leave sm75 out of --compute: it has no float32 matrix product"
    else:
        hint = "try other --compute or --batch values"
    return f"{module} could not build {model}: {said}; {hint}"


def _write(
    model: Path,
    data: bytes,
    plan: Path,
    serialised: bytes,
    target: Target,
    version: str,
    capabilities: tuple[str, ...],
    profile: Profile,
    metadata: ModelMetadata,
) -> Sidecar:
    """Write the plan, then its sidecar, and return the sidecar.

    Stopped between the two, an older sidecar stays beside the new plan; its digest refuses the plan.
    """
    gpus = find_gpus().gpus
    sidecar = Sidecar(
        module=MODULES[target].name,
        tensorrt_version=version,
        plan_sha256=hashlib.sha256(serialised).hexdigest(),
        plan_bytes=len(serialised),
        onnx_sha256=hashlib.sha256(data).hexdigest(),
        onnx_name=model.name,
        target=target,
        compute_capabilities=capabilities,
        gpu_name=gpus[0].name if gpus and target == "gpu" else None,
        precision=metadata.precision,
        profile=profile,
        input_name=INPUT,
        output_name=OUTPUT,
        verified=False,
        verified_reason=f"the parity pack has not been run through it; run: alexnet check {plan.name}"
        if gpus
        else f"{find_gpus().reason}; on the machine that runs it: alexnet check {plan.name}",
        metadata=metadata,
    )
    write_bytes(plan, serialised)
    sidecar.save(sidecar_beside(plan))
    return sidecar
