"""From runs to `model.onnx`, its parity pack and its report: built, proven, then put in place, or nothing is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import helper

from alexnet.errors import InputError
from alexnet.export.cast import cast_model
from alexnet.export.expectation import expected_pack, metadata_of
from alexnet.export.graph import check_together, onnx_model
from alexnet.export.onnx_files import (
    SINGLE_FILE_LIMIT,
    publish,
    remove_older_weights,
    staging,
    weight_bytes,
    write_model,
)
from alexnet.export.options import ExportOptions
from alexnet.export.proof import Proof, prove
from alexnet.export.proof_report import proof_report
from alexnet.export.source import Source
from alexnet.files import write_bytes
from alexnet.ops import write_ops_library
from alexnet.parity import parity_pack_beside, report_beside

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and the figures of its proof; `weights` is the file of external data, where there is one.

    `bytes` are those of the model and its weights.
    """

    model: Path
    pack: Path
    report: Path
    weights: Path | None
    proof: Proof
    nodes: int
    bytes: int


def export_onnx(
    sources: Sequence[Source],
    pictures: Pixels,
    names: list[str],
    out: Path,
    options: ExportOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Write `out`, its parity pack and its report beside it; ParityError, with nothing written, when the proof fails.

    Several sources become one graph that answers with their mean (Table 2). `pictures` is uint8 [P, S, S, 3], real
    ones. Everything is made and proven in a hidden folder first; the model takes its place last, and replaces an
    older one only when everything has held. Raises InputError for pictures of another size than the mean, ModelError
    for networks that do not go together. `say` is told what is done, where that takes a while.
    """
    side = sources[0].mean.shape[0]
    if pictures.shape != (len(names), side, side, 3) or not names:
        raise InputError(
            f"the pictures for the proof are {pictures.shape}, expected {(len(names), side, side, 3)}, one at "
            "least; prove the export on a folder of pictures with: alexnet export RUN --onnx --pictures DIR"
        )
    options = options or ExportOptions()
    numbers = [source.numbers() for source in sources]
    check_together(numbers, options)
    metadata = metadata_of(sources, options)
    say(f"asking the training model for its answers to {len(names)} pictures")
    pack = expected_pack(sources, pictures, names, options)
    model = onnx_model(numbers, options)
    if options.precision != "fp32":
        model = cast_model(model, options.precision)
    size = weight_bytes(model)
    with staging(out) as folder:
        staged = folder / out.name
        weights = write_model(model, staged, options.external or size > SINGLE_FILE_LIMIT)
        say(f"proving {size / 1e6:.1f} MB of weights in ONNX Runtime")
        proof = prove(model, metadata, pack, staged)
        metadata = replace(metadata, parity=proof.to_values())
        helper.set_model_props(model, metadata.to_properties())
        library = write_ops_library(model, folder)
        write_model(model, staged, external=False)
        pack.save(parity_pack_beside(staged))
        report = proof_report(out.name, metadata, model, proof)
        write_bytes(report_beside(staged), report.encode())
        beside = (library, weights, report_beside(staged), parity_pack_beside(staged))
        total = staged.stat().st_size + (weights.stat().st_size if weights else 0)
        publish([*(file for file in beside if file), staged], out.parent)
    placed = out.with_name(weights.name) if weights else None
    remove_older_weights(out, placed)
    return Exported(out, parity_pack_beside(out), report_beside(out), placed, proof, len(model.graph.node), total)
