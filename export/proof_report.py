"""The readable report of a proof: `model.proof.md` beside the model, for whoever has to sign for it."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from alexnet.errors import printable
from alexnet.export.proof import Proof
from alexnet.metadata import ModelMetadata

WORST = 5


def proof_report(name: str, metadata: ModelMetadata, model: onnx.ModelProto, proof: Proof) -> str:
    """Return the report as Markdown: the model's facts, versions, and the figures by batch, layer and picture.

    `name` is the model's file name. The report holds no path and no date, so that the same export writes the same.
    """
    total = proof.comparison
    sections = (
        f"# Proof of parity: {_text(name)}",
        f"The model was run by {proof.runtime} on a CPU and held against the training model on {total.pictures} "
        f"pictures. Every probability is within {proof.tolerance:g} of the training model's, and every layer within "
        f"{proof.layers.tolerance.layers:g} of its largest value. Repeat it: `alexnet check {_text(name)} --layers`",
        _table(("fact", "value"), _facts(metadata, model)),
        "## Answers",
        _table(
            ("batch", "pictures", "largest difference", "mean difference", "KL (nats)", "top-1", "top-5", "worst"),
            (
                (
                    f"{batch}",
                    f"{result.pictures}",
                    f"{result.largest:.2e}",
                    f"{result.mean:.2e}",
                    f"{result.kl:.2e}",
                    f"{result.top1:.1%}",
                    f"{result.top5:.1%}",
                    result.worst,
                )
                for batch, result in proof.batches.items()
            ),
        ),
        "## Layers",
        "Of the first picture's centre crop, in the order of computation; relative to the layer's largest value."
        + (f" Not tensors of this graph: {', '.join(proof.layers.lacking)}." if proof.layers.lacking else ""),
        _table(
            ("layer", "largest value", "largest difference", "relative", "tolerance"),
            (
                (row.name, f"{row.scale:.4g}", f"{row.largest:.2e}", f"{row.relative:.2e}", f"{row.tolerance:g}")
                for row in proof.layers.rows
            ),
        ),
        "## Worst pictures",
        _table(("picture", "largest difference"), ((name, f"{value:.2e}") for name, value in _worst(proof))),
    )
    return "\n\n".join(sections) + "\n"


def _facts(metadata: ModelMetadata, model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Return what the model says of itself, and what it was made with."""
    domains = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    batch = "any" if metadata.batch is None else str(metadata.batch)
    return [
        ("recipe", metadata.name),
        ("classes", str(len(metadata.labels))),
        ("checkpoint, SHA-256", metadata.checkpoint_sha256),
        *((f"network {place}, SHA-256", digest) for place, digest in enumerate(metadata.members, start=1)),
        ("mean image, SHA-256", metadata.mean_sha256),
        ("picture, pixels a side", str(metadata.preprocessing.side)),
        ("crops", f"{metadata.crops} of {metadata.crop} pixels"),
        ("input", metadata.input),
        ("batch", batch),
        ("precision", metadata.precision),
        ("response normalisation", metadata.lrn),
        ("stem", metadata.stem),
        ("opset", domains),
        ("nodes", str(len(model.graph.node))),
        ("alexnet", metadata.toolchain_version),
        ("onnx", onnx.__version__),
    ]


def _worst(proof: Proof) -> list[tuple[str, float]]:
    """Return the pictures with the largest differences, worst first."""
    return sorted(proof.differences.items(), key=lambda entry: -entry[1])[:WORST]


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines)


def _text(value: str) -> str:
    """Return text that can break neither a line nor a table: names of files and classes come from anywhere."""
    return printable(value).replace("|", "\\|")
