"""What a calibration leaves, all or nothing: the model, its parity pack and report, the manifest of its pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx import helper

from alexnet.calibration.calibrate import CalibrateOptions, FloatModel, Quantised
from alexnet.errors import ParityError, printable
from alexnet.export.onnx_files import publish, remove_older_weights, staging, write_model
from alexnet.export.proof import Proof, prove
from alexnet.export.proof_report import proof_report
from alexnet.files import sha256_of, write_bytes
from alexnet.metadata import ModelMetadata
from alexnet.ops import write_ops_library
from alexnet.parity import ParityPack, parity_pack_beside, report_beside

FORMAT = 1


@dataclass(frozen=True)
class Written:
    """The files of a quantised model, its proof against the training model, and its size in bytes."""

    model: Path
    manifest: Path
    pack: Path
    report: Path
    proof: Proof
    bytes: int


def manifest_beside(model: Path) -> Path:
    """Return where a quantised model's manifest stands: `model.int8.calibration.json` beside `model.int8.onnx`."""
    return model.with_name(f"{model.stem}.calibration.json")


def write_quantised(model: FloatModel, found: Quantised, out: Path, options: CalibrateOptions) -> Written:
    """Prove a quantised model against the training model's answers and put it and its companions in place.

    Raises ParityError, with nothing written, when it is further from them than the tolerance of its precision.
    """
    manifest = (json.dumps(_manifest(model, found, options), indent=2, ensure_ascii=False) + "\n").encode()
    with staging(out) as folder:
        staged = folder / out.name
        write_bytes(manifest_beside(staged), manifest)
        facts = _facts(found, options) | {"manifest_sha256": sha256_of(manifest_beside(staged))}
        metadata = replace(model.metadata, precision=options.quantise.format, calibration=facts, parity={})
        proof = _proven(found, metadata, model.pack, options)
        metadata = replace(metadata, parity=proof.to_values())
        helper.set_model_props(found.proto, metadata.to_properties())
        library = write_ops_library(found.proto, folder)
        write_model(found.proto, staged, external=False)
        model.pack.save(parity_pack_beside(staged))
        report = proof_report(out.name, metadata, found.proto, proof) + "\n" + _section(found, facts)
        write_bytes(report_beside(staged), report.encode())
        size = staged.stat().st_size
        beside = (library, manifest_beside(staged), report_beside(staged), parity_pack_beside(staged))
        publish([*(file for file in beside if file), staged], out.parent)
    remove_older_weights(out, None)
    return Written(out, manifest_beside(out), parity_pack_beside(out), report_beside(out), proof, size)


def _proven(found: Quantised, metadata: ModelMetadata, pack: ParityPack, options: CalibrateOptions) -> Proof:
    """Return the proof; ParityError names the cause where weights of 8 bits may be one."""
    try:
        return prove(found.proto, metadata, pack)
    except ParityError as error:
        if not options.quantise.full_range:
            raise
        raise ParityError(
            f"{error.message}; sums of 8-bit weights saturate on a CPU without VNNI: leave out --full-range, or "
            "calibrate on a CPU that has it"
        ) from None


def _facts(found: Quantised, options: CalibrateOptions) -> dict[str, Any]:
    """Return what the model's metadata say of its calibration."""
    return {
        "format": options.quantise.format,
        "method": options.method,
        "weight_bits": 8 if options.quantise.largest_weight > 64 else 7,
        "pictures": len(found.chosen.places),
        "kept": list(found.kept),
        "max_drop": options.max_drop,
        "accuracy": found.accuracy.to_values(),
    }


def _manifest(model: FloatModel, found: Quantised, options: CalibrateOptions) -> dict[str, Any]:
    """Return everything that the calibration can be repeated from, as plain JSON values."""
    return {
        "manifest_format": FORMAT,
        "model": model.path.name,
        "model_sha256": sha256_of(model.path),
        "checkpoint_sha256": model.metadata.checkpoint_sha256,
        **_facts(found, options),
        "seed": options.seed,
        "warnings": list(found.warnings),
        "thresholds": found.thresholds,
        "sensitivity": [cost.to_values() for cost in found.costs],
        "seconds": found.seconds,
        "calibration_pictures": found.chosen.entries,
    }


def _section(found: Quantised, facts: dict[str, Any]) -> str:
    """Return the report's section on the calibration."""
    rows = [
        ("method", facts["method"]),
        ("calibration pictures", f"{facts['pictures']}"),
        ("bits of the weights", f"{facts['weight_bits']}"),
        ("layers in float", ", ".join(found.kept) or "none"),
    ]
    for name, drop in (("top-1", found.accuracy.top1), ("top-5", found.accuracy.top5)):
        low, high = drop.interval
        said = f"{drop.before:.2%}, {drop.after:.2%} ({drop.drop:+.2f} points; 95 % interval {low:+.2f} to {high:+.2f})"
        rows.append((f"{name} before, after the quantisation", f"{said}, {drop.pictures} pictures"))
    rows += [("warning", printable(text)) for text in found.warnings]
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(["## Calibration", "", "| fact | value |", "| --- | --- |", *lines]) + "\n"
