"""An ONNX file as the runtime wants it: checked against its own metadata, the last hidden layer an output on request.

ONNX Runtime and OpenVINO read the same file through here, and share what surrounds a run: float or byte pictures, and
a fixed batch that is filled up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from alexnet.errors import ModelError
from alexnet.external import check_external_data, load_model
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata
from alexnet.runtime.backends.interface import Floats, OutOfMemory, Pixels
from alexnet.runtime.backends.skeleton import Place, read_skeleton

FEATURES = "features"
# Words by which the runtimes say that memory has run out.
_NO_MEMORY = ("out of memory", "bad_alloc", "bad allocation", "failed to allocate", "could not allocate", "outofmemory")

# Bytes of weights that a changed graph may hold: protobuf's limit, less room for the graph.
IN_MEMORY = 2**31 - 2**24


@dataclass(frozen=True)
class OnnxFile:
    """A model that has been read and checked: its file, the graph, changed or as it stands there, and its metadata.

    `places` are those of the large weights in the file, which `model` then lacks (`alexnet.runtime.backends.skeleton`).
    """

    path: Path
    model: onnx.ModelProto
    metadata: ModelMetadata
    changed: bool
    places: dict[str, Place] = field(default_factory=dict)

    def source(self) -> bytes | str:
        """Return what a runtime opens: the path, or the bytes of a graph that was changed."""
        return self.model.SerializeToString() if self.changed else str(self.path)

    def whole(self) -> onnx.ModelProto:
        """Return the model with all of its weights in memory."""
        model = load_model(self.path) if self.places else self.model
        onnx.load_external_data_for_model(model, str(self.path.parent))
        return model


def read_onnx(path: Path, features: bool = False) -> OnnxFile:
    """Return the ONNX model in `path`; `features` makes the last hidden layer an output.

    Raises InputError for a missing file and ModelError when it is not ONNX, not of this toolchain, not what its
    metadata says, or keeps weights where they must not be.
    """
    model, places = (load_model(path), {}) if features else _read(path)
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, str(path))
    external = check_external_data(model, path)
    _check_ends(model, metadata, path)
    if features:
        if sum(file.stat().st_size for file in external) > IN_MEMORY:
            raise ModelError(f"{path} has over 2 GB of weights; --features takes smaller models, such as one network's")
        # A graph that was changed is handed to a runtime as bytes, which know no folder.
        onnx.load_external_data_for_model(model, str(path.parent))
        _add_features(model, path)
    return OnnxFile(path, model, metadata, features, {} if external else places)


def _read(path: Path) -> tuple[onnx.ModelProto, dict[str, Place]]:
    """Return a model without its large weights and their places, or whole where the file is not as expected."""
    try:
        model, places = read_skeleton(path)
        if model.ir_version and model.graph.node:
            return model, places
    except Exception:
        # onnx passes on whatever protobuf raises; what is wrong with the file is said by reading all of it.
        pass
    return load_model(path), {}


def _check_ends(model: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> None:
    """Raise ModelError unless the graph takes and gives what its metadata says."""
    side, classes, batch = metadata.preprocessing.side, len(metadata.labels), metadata.batch or "N"
    pixels = metadata.input == "pixels"
    kind, shape = (TensorProto.UINT8, [side, side, 3]) if pixels else (TensorProto.FLOAT, [3, side, side])
    expected = {INPUT: (kind, [batch, *shape]), OUTPUT: (TensorProto.FLOAT, [batch, classes])}
    ends = {
        entry.name: (entry.type.tensor_type.elem_type, _shape(entry))
        for entry in (*model.graph.input, *model.graph.output)
    }
    if ends != expected:
        raise ModelError(
            f"{path} takes and gives {_described(model)}, expected pictures {'uint8' if pixels else 'float'} "
            f"{_list([batch, *shape])} and probabilities float {_list([batch, classes])} as its metadata says; "
            "export it again with: alexnet export --onnx"
        )


def _shape(entry: onnx.ValueInfoProto) -> list[int | str]:
    """Return a tensor's dimensions, N for a batch that is dynamic under any name."""
    dims = entry.type.tensor_type.shape.dim
    shape: list[int | str] = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
    if dims and not dims[0].HasField("dim_value"):
        shape[0] = "N"
    return shape


def _list(shape: list[int | str]) -> str:
    """Return a shape as text."""
    return f"[{', '.join(map(str, shape))}]"


def _described(model: onnx.ModelProto) -> str:
    """Return a model's inputs and outputs as name, type and shape."""
    return ", ".join(
        f"{entry.name} {TensorProto.DataType.Name(entry.type.tensor_type.elem_type).lower()} {_list(_shape(entry))}"
        for entry in (*model.graph.input, *model.graph.output)
    )


def _add_features(model: onnx.ModelProto, path: Path) -> None:
    """Make the inputs of the classifying layer, the last matrix of each network, outputs in float32."""
    matrices = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    prefixes = dict.fromkeys(node.name.rpartition("/")[0] for node in matrices)
    last = [[node for node in matrices if node.name.rpartition("/")[0] == prefix][-1] for prefix in prefixes]
    if not matrices or any(node.input[0] == INPUT for node in last):
        raise ModelError(f"{path} has no hidden layer before its classes, so it has no features")
    for place, node in enumerate(last):
        name = f"{FEATURES}/{place}"
        model.graph.node.append(helper.make_node("Cast", [node.input[0]], [name], name=name, to=TensorProto.FLOAT))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


class OnnxBackend:
    """What ONNX Runtime and OpenVINO share: a subclass runs one batch, here pictures become batches."""

    name: str
    device: str
    precision: str
    library: ClassVar[str]

    def __init__(self, file: OnnxFile) -> None:
        self.metadata = file.metadata
        self.largest_batch: int | None = file.metadata.batch
        self.outputs = [entry.name for entry in file.model.graph.output]

    def run(self, fed: npt.NDArray[Any]) -> list[Floats]:
        """Return the graph's outputs, in the order of `outputs`, for its input."""
        raise NotImplementedError

    def probabilities(self, pictures: Pixels) -> Floats:
        """Return the probabilities [N, classes] of pictures [N, S, S, 3]; ModelError when the graph does not run."""
        return self._answers(pictures)[0]

    def probabilities_and_features(self, pictures: Pixels) -> tuple[Floats, Floats]:
        """Return the probabilities [N, classes] and the last hidden layer [N, crops, F], an ensemble's side by side."""
        probabilities, *layers = self._answers(pictures)
        return probabilities, np.concatenate(layers, axis=2)

    def _answers(self, pictures: Pixels) -> list[Floats]:
        """Return every output by picture, in parts where the batch is fixed, the last one filled up."""
        size = self.metadata.batch or len(pictures)
        parts = [self._part(pictures[first : first + size], size) for first in range(0, len(pictures), size)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _part(self, pictures: Pixels, size: int) -> list[Floats]:
        """Return every output for at most `size` pictures, after filling them up with the last one."""
        number = len(pictures)
        if number < size:
            pictures = np.concatenate([pictures, np.repeat(pictures[-1:], size - number, axis=0)])
        try:
            found = dict(zip(self.outputs, self.run(self.metadata.fed(pictures)), strict=True))
        except Exception as error:
            # The exceptions of ONNX Runtime and of OpenVINO share no base class of their own.
            raise self._failure(error, size) from None
        answer = found.pop(OUTPUT)
        if answer.shape != (size, len(self.metadata.labels)):
            raise ModelError(
                f"the model answers {answer.shape}, expected {(size, len(self.metadata.labels))}; export it again"
            )
        # Crops stand one after another, each of all the pictures: [crops * N, F] -> [N, crops, F].
        layers = [layer.reshape(self.metadata.crops, size, -1).transpose(1, 0, 2)[:number] for layer in found.values()]
        return [answer[:number], *layers]

    def _failure(self, error: Exception, size: int) -> Exception:
        """Return the error of this toolchain for what a run raised."""
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
            return OutOfMemory(f"{self.device} has no room for {size} pictures at once; use a smaller --batch")
        return ModelError(f"{self.library} could not run {self.metadata.name}: {error}; export it again")
