"""What a file or a run is, from what stands in it and beside it: nothing of it is run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from alexnet.architecture import layer_table
from alexnet.errors import AlexNetError, InputError, ModelError
from alexnet.external import check_external_data, load_model
from alexnet.files import read_json, sha256_of
from alexnet.gpu import find_gpus
from alexnet.layer_precision import layer_precision
from alexnet.metadata import PROPERTY, ModelMetadata
from alexnet.parity import parity_pack_beside
from alexnet.run import Run
from alexnet.sidecar import Sidecar, sidecar_beside

Facts = dict[str, Any]


def inspect_path(path: Path) -> Facts:
    """Return what a plan, an ONNX model or a run directory is, as plain JSON values in the order of their report.

    A plan is loaded, and its layers listed, only where its sidecar, digest, version and GPU hold. Raises InputError or
    ModelError when the path is none of the three, and SidecarError for a damaged sidecar.
    """
    if path.is_dir():
        return _run(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a .plan, a .onnx or a run under runs/")
    if path.suffix.lower() in (".plan", ".engine"):
        return _plan(path)
    if path.suffix.lower() == ".onnx":
        return _model(path)
    raise ModelError(f"{path} is neither .plan nor .onnx nor a run; write one with: alexnet export --onnx")


def _run(path: Path) -> Facts:
    """Return what a run directory holds."""
    run = Run(path)
    recipe = run.recipe()
    architecture = layer_table(recipe.network)
    facts: Facts = {
        "kind": "run",
        "path": str(path),
        "recipe": recipe.name,
        "pictures": f"{recipe.data.picture} pixels, crops of {recipe.network.crop}",
        "columns": recipe.network.columns,
        "classes": recipe.network.classes,
        "labels": list(run.labels()),
        "parameters": architecture.parameters,
    }
    if run.checkpoint_path.is_file():
        state = read_json(run.checkpoint_path)
        facts["checkpoint"] = {key: value for key, value in state.items() if isinstance(value, str | int | float)}
    else:
        facts["checkpoint"] = "none yet; train on with: alexnet train --resume"
    return facts


def _model(path: Path) -> Facts:
    """Return what an ONNX model is, another's too."""
    proto = load_model(path)
    weights = check_external_data(proto, path)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    size = path.stat().st_size + sum(file.stat().st_size for file in weights)
    facts: Facts = {
        "kind": "ONNX model",
        "path": str(path),
        "bytes": size,
        "sha256": sha256_of(path),
        "weights_beside_it": [file.name for file in weights],
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        "nodes": len(proto.graph.node),
        "inputs": [entry.name for entry in proto.graph.input],
        "outputs": [entry.name for entry in proto.graph.output],
    }
    if PROPERTY not in properties:
        return {**facts, "made_by": f"{proto.producer_name or 'unknown'}, not this toolchain: its labels are unknown"}
    metadata = ModelMetadata.from_properties(properties, str(path))
    return {
        **facts,
        **_of_metadata(metadata),
        "precision": metadata.precision,
        **_calibrated(metadata),
        "layers": layer_precision(proto),
        "parity": metadata.parity,
        "parity_pack": _pack(path),
    }


def _of_metadata(metadata: ModelMetadata) -> Facts:
    """Return what a model or a plan says of the network."""
    return {
        "network": metadata.name,
        "labels": list(metadata.labels),
        "preprocessing": metadata.preprocessing.to_values(),
        "crops": f"{metadata.crops} of {metadata.crop} pixels",
        "input": metadata.input,
        "batch": metadata.batch or "dynamic",
        "lrn": metadata.lrn,
        "stem": metadata.stem,
        "members": len(metadata.members) or 1,
        "checkpoint_sha256": metadata.checkpoint_sha256,
        "toolchain": metadata.toolchain_version,
    }


def _calibrated(metadata: ModelMetadata) -> Facts:
    """Return what a quantised model says of its calibration, nothing for another."""
    if not metadata.calibration:
        return {}
    facts: Facts = {"calibration": metadata.calibration}
    try:
        top1 = metadata.calibration["accuracy"]["top1"]
        text = f"{top1['after']:.2%}, in float32 {top1['before']:.2%}, of {top1['pictures']:,} pictures"
        return {**facts, "kept_in_float": metadata.calibration["kept"] or "no layer", "top1": text}
    except (KeyError, TypeError, ValueError):
        return {**facts, "top1": "not said: the metadata of the calibration are incomplete"}


def _plan(path: Path) -> Facts:
    """Return what a plan is, from its sidecar, and its layers where it can be loaded."""
    facts: Facts = {"kind": "TensorRT plan", "path": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    if not sidecar_beside(path).is_file():
        return {**facts, "sidecar": "none: what the plan is cannot be said without loading it, which is not done"}
    sidecar = Sidecar.load(path)
    loaded = _loaded(path, sidecar)
    return {
        **facts,
        "digest": "as the sidecar says" if facts["sha256"] == sidecar.plan_sha256 else "NOT that of the sidecar",
        "built_by": f"{sidecar.module} {sidecar.tensorrt_version}",
        "built_on": sidecar.gpu_name or "no GPU, ahead of time",
        "compute_capabilities": list(sidecar.compute_capabilities),
        "built_from": f"{sidecar.onnx_name}, sha256 {sidecar.onnx_sha256}",
        "options": {name: value for name, value in sidecar.options.items() if value not in (None, False)},
        "profile": f"{sidecar.profile.smallest} to {sidecar.profile.largest}, best {sidecar.profile.best}",
        **_of_metadata(sidecar.metadata),
        "precision": sidecar.precision,
        **_calibrated(sidecar.metadata),
        "layers": sidecar.layers,
        "verified": f"{'yes' if sidecar.verified else 'no'}: {sidecar.verified_reason}",
        "parity": sidecar.parity,
        "parity_pack": _pack(path),
        **loaded,
    }


def _loaded(path: Path, sidecar: Sidecar) -> Facts:
    """Return the engine's own layers by its inspector, or why it cannot be loaded here."""
    from alexnet.runtime.backends.interface import BackendOptions
    from alexnet.runtime.backends.tensorrt import open_engine

    try:
        engine: Any = open_engine(path, BackendOptions())
    except AlexNetError as error:
        return {"loads_here": f"no: {error.message}"}
    try:
        trt = importlib.import_module(sidecar.module)
        inspector = engine.engine.create_engine_inspector()
        found = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
        return {"loads_here": f"yes, on {find_gpus().gpus[0].name}", "engine_layers": layer_names(found)}
    finally:
        engine.close()


def layer_names(information: Any) -> list[str]:
    """Return the names in an engine inspector's JSON, whose layers are names or, in detail, objects."""
    layers = information.get("Layers", []) if isinstance(information, dict) else []
    return [str(layer.get("Name", layer) if isinstance(layer, dict) else layer) for layer in layers]


def _pack(path: Path) -> str:
    """Return the parity pack beside a model, or that there is none."""
    pack = parity_pack_beside(path)
    return pack.name if pack.is_file() else f"no {pack.name} beside it"


def described(facts: Facts) -> str:
    """Return the facts as aligned text; lists of many names are cut."""
    width = max(len(name) for name in facts)
    return "\n".join(
        f"{name.replace('_', ' '):{width}}  {_text(value)}" for name, value in facts.items() if value not in ({}, [])
    )


def _text(value: Any) -> str:
    """Return one value on one line."""
    if isinstance(value, list):
        shown = ", ".join(str(entry) for entry in value[:8])
        return f"{shown}, ... ({len(value)})" if len(value) > 8 else shown
    if isinstance(value, dict):
        return _grouped(value)
    return f"{value:,}" if type(value) is int else str(value)


def _grouped(values: Facts) -> str:
    """Return names by their value when few values repeat, as precisions do, else name and value."""
    plain = {name: value for name, value in values.items() if not isinstance(value, dict | list)}
    if plain and all(isinstance(value, str) for value in plain.values()) and len(set(plain.values())) < len(plain):
        groups: dict[str, list[str]] = {}
        for name, value in plain.items():
            groups.setdefault(str(value), []).append(name)
        return "; ".join(f"{value}: {', '.join(names)}" for value, names in groups.items())
    return ", ".join(f"{name} {value}" for name, value in plain.items())
