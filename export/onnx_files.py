"""An exported model on disk: staged beside its place, in one file or with its weights in a second, then renamed.

protobuf ends at 2 GB, so a larger model (an ensemble of nine full-size networks) keeps its weights as ONNX external
data. That file carries the digest of its bytes in its name, so that an older model beside it never refers to newer
weights, at whatever moment an export is stopped.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnx.external_data_helper import convert_model_to_external_data

from alexnet.errors import InputError
from alexnet.files import fsync_file, fsync_folder, umask

# A model of more bytes of weights is written with external data: protobuf's limit, less room for the graph.
SINGLE_FILE_LIMIT = 2**31 - 2**24
# Tensors below this many bytes stay in the model file, so that shapes can be inferred from it alone.
SMALL = 1024


def infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its shapes inferred strictly; its weights' values are left out of it, however large.

    Raises onnx's InferenceError where the types or shapes of two nodes do not fit.
    """
    weights = list(model.graph.initializer)
    del model.graph.initializer[:]
    model.graph.initializer.extend(_without_values(tensor) for tensor in weights)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    for whole in (model, inferred):
        del whole.graph.initializer[:]
        whole.graph.initializer.extend(weights)
    return inferred


def _without_values(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return a tensor's name, type and shape, its values said to be elsewhere unless they are few."""
    if len(tensor.raw_data) < SMALL:
        return tensor
    stub = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    stub.data_location = onnx.TensorProto.EXTERNAL
    stub.external_data.add(key="location", value="weights")
    return stub


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of a model's weights."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `out`, gone afterwards: what is to stand beside `out` is made and tried there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}, choose another folder") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_model(model: onnx.ModelProto, path: Path, external: bool) -> Path | None:
    """Write a model to `path`, with `external` its weights to a file beside it, whose path is returned.

    Afterwards `model` itself refers to that file and holds its weights no more: writing it again is cheap.
    """
    data = None
    if external:
        digest = hashlib.sha256()
        for tensor in model.graph.initializer:
            digest.update(tensor.raw_data)
        data = path.with_name(f"{path.name}.{digest.hexdigest()[:16]}.data")
        convert_model_to_external_data(model, location=data.name, size_threshold=SMALL)
    onnx.save_model(model, path)
    return data


def publish(files: Sequence[Path], folder: Path) -> None:
    """Move staged files into `folder` in their order, each flushed to disk first: what refers comes last."""
    for file in files:
        fsync_file(file)
        # onnx writes external data for its owner alone, and a model is meant to be shared.
        file.chmod(0o666 & ~umask())
    for file in files:
        file.replace(folder / file.name)
    fsync_folder(folder)


def remove_older_weights(out: Path, kept: Path | None) -> None:
    """Remove the weights of models that `out` has replaced; `kept` is the file that it refers to, if any."""
    for file in out.parent.glob(f"{glob.escape(out.name)}.*.data"):
        digits = file.name[len(out.name) + 1 : -len(".data")]
        if len(digits) == 16 and set(digits) <= set("0123456789abcdef") and (kept is None or file.name != kept.name):
            file.unlink()
