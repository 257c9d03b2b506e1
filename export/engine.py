"""From ONNX to a TensorRT engine: the plan's pure bytes, and the sidecar that says what they are.

Networks are strongly typed: precision is what the ONNX says, nothing is lowered behind its back.
TensorRT API: Builder, OnnxParser, IBuilderConfig, IOptimizationProfile, build_serialized_network.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from alexnet.errors import BuildError, InputError, ModelError
from alexnet.export.build_monitor import progress_monitor, shown_build, stoppable
from alexnet.export.build_options import BuildOptions, chosen_profile
from alexnet.export.onnx_files import publish, staging
from alexnet.export.parser_errors import builder_refusal, parser_refusal
from alexnet.export.tensorrt_module import (
    MODULES,
    Target,
    apply_options,
    capability_of,
    check_options,
    default_compute,
    import_module,
    network_flags,
    set_compute,
)
from alexnet.export.timing_cache import default_timing_cache, load_timings, save_timings
from alexnet.external import check_external_data, load_model
from alexnet.files import write_bytes
from alexnet.gpu import find_gpus
from alexnet.layer_precision import layer_precision
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.ops.tensorrt_plugin import register_plugin
from alexnet.parity import parity_pack_beside
from alexnet.sidecar import Profile, Sidecar, Verification, sidecar_beside
from alexnet.tensorrt_api import Config, Log, Network, TensorRT
from alexnet.tensorrt_log import tensorrt_log

# Runs the parity pack through a plan: (plan, pack, the model it was built of). Raises ParityError past the tolerance.
Verify = Callable[[Path, Path, Path], Verification]
Say = Callable[[str], None]


@dataclass(frozen=True)
class ModelFile:
    """An ONNX model of this toolchain that may be built: its bytes, what it says of itself, and its graph."""

    path: Path
    data: bytes
    metadata: ModelMetadata
    proto: onnx.ModelProto


def engine_from_onnx(
    model: Path,
    plan: Path,
    target: Target,
    options: BuildOptions | None = None,
    verify: Verify | None = None,
    say: Say = lambda text: None,
    quiet: bool = True,
) -> Sidecar:
    """Build `plan` from an ONNX model of this toolchain, write it and its sidecar, and return the sidecar.

    The target rtx builds for the capabilities in `options`, gpu for the GPU that is here. Plan, sidecar and a copy of
    the model's parity pack are made in a hidden folder and take their places together, once `verify` has run the pack
    through the plan. `say` is told of warnings; `quiet` shows no progress. Raises ModelError for another's model,
    MissingPackageError, BuildError when the parser or the builder refuses, ParityError when `verify` does, and
    Interrupted on Ctrl-C.
    """
    options = options or BuildOptions()
    file = read_model(model)
    _check_precision(file, options.precision)
    check_options(target, options)
    profile = chosen_profile(options.profile, file.metadata.batch, str(model))
    _check_place(model, plan)
    trt = import_module(target)
    if file.metadata.lrn == "plugin":
        register_plugin(trt)
    data = _serialised(trt, file, target, options, profile, say, quiet)
    sidecar = _sidecar(trt, file, target, options, profile, data)
    with staging(plan) as folder:
        staged = folder / plan.name
        write_bytes(staged, data)
        sidecar.save(sidecar_beside(staged))
        files = [staged, sidecar_beside(staged)]
        pack = parity_pack_beside(model)
        if pack.is_file() and parity_pack_beside(plan).resolve() != pack.resolve():
            write_bytes(parity_pack_beside(staged), pack.read_bytes())
            files.insert(0, parity_pack_beside(staged))
        sidecar = sidecar.proven(_verified(file, plan, staged, pack, options, verify))
        sidecar.save(sidecar_beside(staged))
        publish(files, plan.parent)
    return sidecar


def read_model(model: Path) -> ModelFile:
    """Return a model that may be built; InputError or ModelError when it is not one of ours, or its weights stray."""
    proto = load_model(model)
    data = model.read_bytes()
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, str(model))
    if [entry.name for entry in proto.graph.input] != [INPUT] or [entry.name for entry in proto.graph.output] != [
        OUTPUT
    ]:
        raise ModelError(f"{model} does not take {INPUT!r} to {OUTPUT!r}; export it again with: alexnet export --onnx")
    check_external_data(proto, model)
    return ModelFile(model, data, metadata, proto)


def _check_precision(file: ModelFile, asked: str | None) -> None:
    """Raise BuildError, with the command that makes it, when a model is not in the precision that is asked for."""
    found = file.metadata.precision
    if asked in (None, found):
        return
    if asked in ("int8", "fp8"):
        change = f"make that model with: alexnet calibrate {file.path} --data DATA --format {asked}"
    else:
        change = f"make that model with: alexnet export --onnx --precision {asked}"
    raise BuildError(
        f"{file.path} is in {found}, --precision {asked} was asked for, and an engine computes in what its model says; "
        f"{change}"
    )


def _check_place(model: Path, plan: Path) -> None:
    """Raise InputError when writing `plan` or its sidecar would replace the model or a folder."""
    for path in (plan, sidecar_beside(plan)):
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected a file for the plan; write: -o {path / 'model.plan'}")
        if path.resolve() == model.resolve():
            raise InputError(f"{path} is the model itself, which the plan would replace; give another file with -o")


def _serialised(
    trt: TensorRT, file: ModelFile, target: Target, options: BuildOptions, profile: Profile, say: Say, quiet: bool
) -> bytes:
    """Return the plan's bytes as TensorRT makes them."""
    log: Log = tensorrt_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(file.data, str(file.path)):
        raise BuildError(parser_refusal(parser, file.path))
    config = builder.create_builder_config()
    apply_options(trt, config, options)
    shape = tuple(network.get_input(0).shape)[1:]
    profiles = builder.create_optimization_profile()
    smallest, best, largest = ((size, *shape) for size in (profile.smallest, profile.best, profile.largest))
    profiles.set_shape(INPUT, smallest, best, largest)
    config.add_optimization_profile(profiles)
    if MODULES[target].ahead_of_time:
        set_compute(trt, config, options.compute or default_compute(file.metadata.precision))
    timings = _timings(trt, target, options)
    if timings:
        load_timings(config, timings, log, say)
    serialised = _run(trt, builder.build_serialized_network, network, config, str(file.path), quiet)
    if serialised is None:
        raise BuildError(builder_refusal(log, file.path, trt.__name__))
    if timings:
        save_timings(config, timings, log)
    return serialised


def _run(
    trt: TensorRT, build: Callable[[Network, Config], object], network: Network, config: Config, what: str, quiet: bool
) -> bytes | None:
    """Return what the builder gives, None when it refuses; shows its progress, and ends cleanly on Ctrl-C."""
    stop = threading.Event()
    with shown_build(quiet) as shown:
        # TensorRT keeps no reference of its own: the monitor must outlive the build.
        monitor = progress_monitor(trt, shown, stop)
        config.progress_monitor = monitor
        made = stoppable(lambda: build(network, config), stop, what)
    return None if made is None else bytes(made)  # type: ignore[call-overload]


def _timings(trt: TensorRT, target: Target, options: BuildOptions) -> Path | None:
    """Return the file of timings that a build uses, None where none is wanted or the module keeps none."""
    if not options.keep_timings or "timing_cache" in MODULES[target].lacks:
        return None
    return options.timing_cache or default_timing_cache(trt, find_gpus().gpus[0])


def _sidecar(
    trt: TensorRT, file: ModelFile, target: Target, options: BuildOptions, profile: Profile, data: bytes
) -> Sidecar:
    """Return the sidecar of a plan that nothing has been run through yet."""
    gpus = find_gpus().gpus
    if MODULES[target].ahead_of_time:
        capabilities = tuple(
            capability_of(name) for name in options.compute or default_compute(file.metadata.precision)
        )
    else:
        capabilities = ("8.0+",) if options.hardware_compatible else (gpus[0].capability,)
    return Sidecar(
        module=MODULES[target].name,
        tensorrt_version=trt.__version__,
        plan_sha256=hashlib.sha256(data).hexdigest(),
        plan_bytes=len(data),
        onnx_sha256=hashlib.sha256(file.data).hexdigest(),
        onnx_name=file.path.name,
        target=target,
        compute_capabilities=capabilities,
        gpu_name=gpus[0].name if gpus and target == "gpu" else None,
        precision=file.metadata.precision,
        profile=profile,
        input_name=INPUT,
        output_name=OUTPUT,
        verified=False,
        verified_reason="",
        metadata=file.metadata,
        layers=layer_precision(file.proto),
        options=options.to_values(),
    )


def _verified(
    file: ModelFile, plan: Path, staged: Path, pack: Path, options: BuildOptions, verify: Verify | None
) -> Verification:
    """Return what became of the parity pack, or why it was not run."""
    later = f"alexnet infer verifies it on first use, at any time: alexnet check {plan.name}"
    search = find_gpus()
    if not search.gpus:
        return Verification(False, f"{search.reason}; {later}")
    gpu, sidecar = search.gpus[0], Sidecar.load(staged)
    if not sidecar.runs_on(gpu.capability):
        names = ", ".join(sidecar.compute_capabilities)
        return Verification(False, f"it was built for {names}, {gpu.name} here has {gpu.capability}; {later}")
    if not pack.is_file():
        return Verification(False, f"{file.path} has no parity pack {pack.name} beside it; export it again")
    if verify is None or not options.verify:
        return Verification(False, f"not asked for; {later}")
    return verify(staged, pack, file.path)
