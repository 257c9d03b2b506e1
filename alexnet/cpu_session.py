"""An ONNX model in memory, opened by ONNX Runtime on the CPU: for the proof of parity and for finding faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from alexnet.bfloat16 import as_stored
from alexnet.errors import ModelError, missing_package
from alexnet.ops import register

# ONNX Runtime's own option: where the files are that a model's external data name.
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def cpu_session(model: onnx.ModelProto, folder: Path | None = None) -> Any:
    """Return an `onnxruntime.InferenceSession` of a model; `folder` is where its external data are, if it has any.

    What the model stores in float16 or bfloat16 is rounded to it, as an engine does and ONNX Runtime by itself not.
    Raises MissingPackageError without onnxruntime, ModelError when it refuses the model.
    """
    try:
        import onnxruntime
    except ImportError:
        raise missing_package("onnxruntime", "cpu", "the proof of parity") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    register(options, model)
    if folder is not None:
        options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder.resolve()))
    try:
        return onnxruntime.InferenceSession(
            as_stored(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # ONNX Runtime's exceptions share no base class of their own.
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the model: {error}; export it again"
        ) from None


def runtime_version() -> str:
    """Return `onnxruntime` with its version, as reports name it."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"
