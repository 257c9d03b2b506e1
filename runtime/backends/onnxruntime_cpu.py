"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from alexnet.errors import DeviceError, ModelError
from alexnet.metadata import ModelMetadata
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
        """Return the probabilities [N, classes] of pictures [N, S, S, 3]."""
        answer: Floats = self.session.run(["probabilities"], {"pictures": pictures})[0]
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
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, str(path))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError(f"{path} keeps weights in other files, which are not read; export it again as one file")
    side, classes = metadata.preprocessing.side, len(metadata.labels)
    expected = {
        "pictures": (onnx.TensorProto.UINT8, [side, side, 3]),
        "probabilities": (onnx.TensorProto.FLOAT, [classes]),
    }
    found = {
        entry.name: (
            entry.type.tensor_type.elem_type,
            [dim.dim_value for dim in entry.type.tensor_type.shape.dim][1:],
        )
        for entry in (*model.graph.input, *model.graph.output)
    }
    if found != expected:
        raise ModelError(
            f"{path} takes and gives {sorted(found)}, expected pictures uint8 [N, {side}, {side}, 3] and probabilities "
            f"float32 [N, {classes}] as its metadata says; export the model again with: alexnet export --onnx"
        )
    return metadata
