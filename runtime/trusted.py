"""What a user says of an engine that has no sidecar: its labels and its preprocessing, by an ONNX model or by flags."""

from __future__ import annotations

from pathlib import Path

from alexnet.crops import CROPS
from alexnet.errors import SidecarError
from alexnet.labels import read_labels
from alexnet.metadata import ModelMetadata
from alexnet.pictures import RESIZES, Preprocessing
from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.backends.onnx_file import read_onnx

UNKNOWN = "unknown"


def trusted_metadata(path: Path, options: BackendOptions) -> ModelMetadata:
    """Return the metadata of the engine in `path`: those of the ONNX model `like`, or what the flags say.

    By flags the engine takes uint8 pictures [N, side, side, 3] and averages ten crops by itself, as an export without
    `--input` and `--crops` does. Raises SidecarError when neither is given, InputError for labels that cannot be read.
    """
    if options.like is not None:
        return read_onnx(options.like).metadata
    if options.labels is None:
        raise SidecarError(
            f"{path} has no sidecar, and --trust alone leaves its labels and preprocessing unknown; give the ONNX "
            "model it was built from with: --like model.onnx (or --labels FILE, --side and --resize)"
        )
    return ModelMetadata(
        name=path.stem,
        labels=read_labels(options.labels),
        preprocessing=Preprocessing(options.side, RESIZES[options.resize]),
        crop=0,
        crops=CROPS,
        input="pixels",
        mean_sha256=UNKNOWN,
        recipe={},
        checkpoint_sha256=UNKNOWN,
        toolchain_version=UNKNOWN,
        lrn=UNKNOWN,
        stem=UNKNOWN,
        precision=UNKNOWN,
        parity={},
    )
