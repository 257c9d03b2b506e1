"""ONNX files and the weights that stand beside them: read without trust, opened only after containment checks.

A model over 2 GB (protobuf's limit), or one exported so on request, keeps its weights in a file of external data.
ONNX lets a tensor name any file; here only a plain file in the model's own folder is ever opened, which onnx's own
checker (`onnx.checker.check_model` on a path) and the checks below make sure of before a runtime sees the model.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx.external_data_helper import ExternalDataInfo

from alexnet.errors import ModelError
from alexnet.files import require_file

EXPORT = "write one with: alexnet export --onnx"


def load_model(path: Path) -> onnx.ModelProto:
    """Return the model in `path` with its external data, if it has any, left where it is.

    Raises InputError when there is no such file and ModelError when it is not ONNX.
    """
    require_file(path, EXPORT)
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        # onnx passes on whatever protobuf raises, which differs between its versions.
        raise ModelError(f"{path} is not an ONNX model ({error}); {EXPORT}") from None
    if not model.ir_version or not model.graph.node:
        raise ModelError(f"{path} is not an ONNX model, it has {'no nodes' if data else 'no bytes'}; {EXPORT}")
    return model


def external_tensors(message: Message) -> list[onnx.TensorProto]:
    """Return the tensors below `message`, in subgraphs and functions too, whose values stand in another file."""
    if isinstance(message, onnx.TensorProto):
        return [message] if message.data_location == onnx.TensorProto.EXTERNAL else []
    inside = [value for field, value in message.ListFields() if field.message_type is not None]
    parts = [part for value in inside for part in ([value] if isinstance(value, Message) else value)]
    return [tensor for part in parts for tensor in external_tensors(part)]


def check_external_data(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Return the files in which the model in `path` keeps weights, none for most, once each may be opened.

    Raises ModelError for a file that is missing, elsewhere than beside the model, a link, or too short for a tensor.
    """
    tensors = external_tensors(model)
    if len(tensors) != sum(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(f"{path} keeps more than its weights in other files, which are not read; export it again")
    files = {}
    for tensor in tensors:
        info = _info(tensor, path)
        file = path.parent / info.location
        if info.location != file.name or info.location in ("", ".", ".."):
            raise ModelError(
                f"{path} keeps {tensor.name} in {info.location!r}, expected a file beside it; export it again"
            )
        if file.is_symlink() or not file.is_file():
            raise ModelError(
                f"{path} keeps {tensor.name} in {file}, which is {'a link' if file.is_symlink() else 'not there'}; "
                "put the file that was exported with it beside it, or export again"
            )
        offset, length = info.offset or 0, info.length or 0
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise ModelError(
                f"{file} has {file.stat().st_size} bytes, {tensor.name} of {path} ends at {offset + length}; "
                "copy it again whole, or export again"
            )
        files[file] = True
    if tensors:
        try:
            onnx.checker.check_model(str(path))
        except Exception as error:
            # The checker raises its own error and, for paths, RuntimeError or OSError.
            raise ModelError(f"{path} is refused by onnx's checker ({error}); export it again") from None
    return list(files)


def _info(tensor: onnx.TensorProto, path: Path) -> ExternalDataInfo:
    """Return where a tensor's values stand; ModelError when the entries are not what ONNX allows."""
    try:
        return ExternalDataInfo(tensor)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} says wrongly where {tensor.name} is ({error}); export it again") from None
