"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
from google.protobuf.message import Message

from alexnet.errors import DeviceError, ModelError
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.runtime.backends import Backend, Floats, Pixels

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu:
    """An ONNX model in an ONNX Runtime session on the CPU."""

    name = "onnxruntime"
    device = "CPU"
    largest_batch: int | None = None

    def __init__(self, session: ort.InferenceSession, metadata: ModelMetadata) -> None:
        self.session = session
        self.metadata = metadata
        self.precision = metadata.precision

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the probabilities [N, classes] of pictures [N, S, S, 3]; ModelError when the graph does not run."""
        try:
            answer: Floats = self.session.run([OUTPUT], {INPUT: self.metadata.fed(pictures)})[0]
        except Exception as error:
            # ONNX Runtime's exceptions share no base class of their own.
            raise ModelError(f"ONNX Runtime could not run {self.metadata.name}: {error}; export it again") from None
        expected = (len(pictures), len(self.metadata.labels))
        if answer.shape != expected:
            raise ModelError(f"the model answers {answer.shape}, expected {expected}; export it again")
        return answer

    def close(self) -> None:
        """Free the session."""
        del self.session


def open_model(path: Path, threads: int | None) -> Backend:
    """Return the ONNX model in `path` on the CPU with `threads` threads, all cores when None.

    Raises ModelError when the file is not ONNX, not of this toolchain, or refers to data outside itself, and
    DeviceError when ONNX Runtime gives another provider than the one asked for.
    """
    data = path.read_bytes()
    metadata = _inspect(data, path)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or 0
    try:
        session = ort.InferenceSession(data, options, providers=[PROVIDER])
    except Exception as error:
        # ONNX Runtime's exceptions share no base class of their own.
        raise ModelError(f"ONNX Runtime {ort.__version__} refuses {path}: {error}; export the model again") from None
    if session.get_providers() != [PROVIDER]:
        raise DeviceError(f"ONNX Runtime runs {path} on {session.get_providers()}, expected {PROVIDER}; reinstall it")
    return OnnxRuntimeCpu(session, metadata)


def _inspect(data: bytes, path: Path) -> ModelMetadata:
    """Return the metadata of an ONNX file after checking that it is what its metadata says."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        # onnx passes on whatever protobuf raises, which differs between its versions.
        raise ModelError(f"{path} is not an ONNX model ({error}); write one with: alexnet export --onnx") from None
    if not model.ir_version or not model.graph.node:
        found = "no nodes" if data else "no bytes"
        raise ModelError(f"{path} is not an ONNX model, it has {found}; write one with: alexnet export --onnx")
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, str(path))
    if _refers_outside(model):
        raise ModelError(f"{path} keeps weights in other files, which are not read; export it again as one file")
    side, classes = metadata.preprocessing.side, len(metadata.labels)
    expected = {
        INPUT: (onnx.TensorProto.UINT8, [side, side, 3]),
        OUTPUT: (onnx.TensorProto.FLOAT, [classes]),
    }
    ends = {
        entry.name: (
            entry.type.tensor_type.elem_type,
            [dim.dim_value for dim in entry.type.tensor_type.shape.dim][1:],
        )
        for entry in (*model.graph.input, *model.graph.output)
    }
    batches = [entry.type.tensor_type.shape.dim[:1] for entry in (*model.graph.input, *model.graph.output)]
    if ends != expected or any(dim.HasField("dim_value") for batch in batches for dim in batch):
        raise ModelError(
            f"{path} takes and gives {_described(model)}, expected pictures uint8 [N, {side}, {side}, 3] and "
            f"probabilities float [N, {classes}] as its metadata says; export it again with: alexnet export --onnx"
        )
    return metadata


def _described(model: onnx.ModelProto) -> str:
    """Return a model's inputs and outputs as name, type and shape."""
    parts = []
    for entry in (*model.graph.input, *model.graph.output):
        tensor = entry.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        parts.append(f"{entry.name} {kind} [{', '.join(map(str, shape))}]")
    return ", ".join(parts)


def _refers_outside(message: Message) -> bool:
    """Return whether any tensor below `message`, in subgraphs and functions too, keeps its values in another file."""
    if isinstance(message, onnx.TensorProto):
        return message.data_location == onnx.TensorProto.EXTERNAL
    inside = [value for field, value in message.ListFields() if field.message_type is not None]
    return any(_refers_outside(part) for value in inside for part in ([value] if isinstance(value, Message) else value))
