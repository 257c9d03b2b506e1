"""An index on disk.

index/
    index.json            the manifest: what was indexed, by what; without it the folder is unfinished
    plan.json             what was asked for, so that the same command goes on and another one is refused
    pictures.json         names and classes, one for each row
    features.npy          float32 [N, F], the last hidden layer; features.part and progress.json until it is whole
    approximate.usearch   graph of nearest neighbours (HNSW, Malkov and Yashunin 2016), where it was asked for
    codes.safetensors     an encoder and the codes uint8 [N, bits / 8], where they were asked for
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet.errors import InputError, ModelError
from alexnet.external import check_external_data
from alexnet.files import read_json, sha256_of, write_json
from alexnet.runtime.backends.onnx_file import read_onnx

FORMAT = 1
MANIFEST, PLAN, PROGRESS = "index.json", "plan.json", "progress.json"
PICTURES, FEATURES, PART = "pictures.json", "features.npy", "features.part"
GRAPH, CODES = "approximate.usearch", "codes.safetensors"


@dataclass(frozen=True)
class Manifest:
    """What an index says of itself, as plain JSON values.

    `model`: path, sha256, checkpoint_sha256. `data`: path, part (None for a folder), digest, pictures. `features`: of
    (mean or centre), length, rows, the places `skipped` because they could not be decoded, backend, precision.
    `approximate` and `codes`: how they were made, None where there are none. `versions`: of each package used.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    features: dict[str, Any]
    approximate: dict[str, Any] | None
    codes: dict[str, Any] | None
    versions: dict[str, str]

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})

    @staticmethod
    def load(folder: Path) -> Manifest:
        """Return the manifest of a finished index; InputError otherwise."""
        if not (folder / MANIFEST).is_file():
            what = "is not finished" if (folder / PLAN).is_file() else "is not an index"
            raise InputError(f"{folder} {what}; make it, or go on with it, by: alexnet index MODEL DATA -o {folder}")
        values = read_json(folder / MANIFEST)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise InputError(f"{folder / MANIFEST} is not of format {FORMAT}; make the index again in another folder")
        try:
            return Manifest(**values)
        except TypeError as error:
            raise InputError(f"{folder / MANIFEST} is damaged: {error}; make the index again") from None


def model_digest(path: Path) -> str:
    """Return the SHA-256 of an ONNX model's bytes, those of its external weights added to it.

    Raises InputError for a run directory, ModelError for a plan, which gives no hidden layer, and what reading an ONNX
    file raises.
    """
    if path.is_dir():
        raise InputError(f"{path} is a run, and features come from a model: alexnet export {path} --onnx model.onnx")
    if path.suffix.lower() in (".plan", ".engine"):
        raise ModelError(f"{path} is a plan, which gives no hidden layer; give the ONNX model that it was built of")
    weights = check_external_data(read_onnx(path).model, path)
    return "+".join(sha256_of(file) for file in (path, *weights))
