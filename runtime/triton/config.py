"""Triton's config.pbtxt of one model, as text: message ModelConfig of its model_config.proto.

The text is written here, so that packaging needs no Triton package; tests parse it with the schema that tritonclient
ships. Types and shapes are those of the model, of whose batch Triton wants the first dimension left out where it is
dynamic (`max_batch_size` above 0), and written where it is fixed (`max_batch_size: 0`, no dynamic batching).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf import text_encoding

from alexnet.metadata import ModelMetadata

LABELS = "labels.txt"
# The suffix of a model file -> Triton's backend, platform, and the devices of its instances. An ONNX file runs on GPUs
# where Triton finds them, else on the CPU.
BACKENDS = {
    ".onnx": ("onnxruntime", "onnxruntime_onnx", "KIND_AUTO"),
    ".plan": ("tensorrt", "tensorrt_plan", "KIND_GPU"),
}


@dataclass(frozen=True)
class Batching:
    """How Triton gathers requests.

    `largest` is the most pictures in a batch and `preferred` the sizes that it tries to reach, while no request waits
    longer than `delay` microseconds for others.
    """

    largest: int
    preferred: tuple[int, ...]
    delay: int


@dataclass(frozen=True)
class ModelConfig:
    """What a config.pbtxt says of one model.

    `suffix` is a key of BACKENDS; `input` and `output` are the tensors' names; `file` is the model's file in the
    version folder, None where each GPU has one by its compute capability in `capability_files`; `instances` run on each
    device.
    """

    name: str
    suffix: str
    metadata: ModelMetadata
    input: str
    output: str
    batching: Batching
    instances: int = 1
    file: str | None = None
    capability_files: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the configuration in protobuf's text form."""
        backend, platform, kind = BACKENDS[self.suffix]
        fixed = self.metadata.batch
        lines = [
            f"name: {_quoted(self.name)}",
            f"backend: {_quoted(backend)}",
            f"platform: {_quoted(platform)}",
            f"max_batch_size: {0 if fixed else self.batching.largest}",
            f"input [{{ name: {_quoted(self.input)} {self._picture()} }}]",
            f"output [{{ name: {_quoted(self.output)} {self._answer()} }}]",
            f"instance_group [{{ kind: {kind} count: {self.instances} }}]",
        ]
        if self.file is not None:
            lines.append(f"default_model_filename: {_quoted(self.file)}")
        lines += [
            f"cc_model_filenames {{ key: {_quoted(capability)} value: {_quoted(file)} }}"
            for capability, file in self.capability_files.items()
        ]
        if not fixed:
            lines.append(
                f"dynamic_batching {{ preferred_batch_size: {list(self.batching.preferred)} "
                f"max_queue_delay_microseconds: {self.batching.delay} }}"
            )
        return "\n".join([*lines, *self._warm_ups()]) + "\n"

    def _dims(self, one: list[int]) -> list[int]:
        """Return a tensor's dimensions as Triton counts them, from those of one picture."""
        return one if self.metadata.batch is None else [self.metadata.batch, *one]

    def _picture(self) -> str:
        """Return the type and the dimensions of the input."""
        side, pixels = self.metadata.preprocessing.side, self.metadata.input == "pixels"
        dims = self._dims([side, side, 3] if pixels else [3, side, side])
        return f"data_type: {'TYPE_UINT8' if pixels else 'TYPE_FP32'} dims: {dims}"

    def _answer(self) -> str:
        """Return the type, the dimensions and the labels of the output.

        Triton counts classes through a whole fixed batch, so that names would not fit one of several pictures.
        """
        labels = f" label_filename: {_quoted(LABELS)}" if self.metadata.batch in (None, 1) else ""
        return f"data_type: TYPE_FP32 dims: {self._dims([len(self.metadata.labels)])}{labels}"

    def _warm_ups(self) -> list[str]:
        """Return requests of black pictures that Triton runs at start: of one picture, and of each preferred size."""
        sizes = [1] if self.metadata.batch else sorted({1, *self.batching.preferred})
        return [
            f'model_warmup [{{ name: "pictures_{size}" batch_size: {size} '
            f"inputs {{ key: {_quoted(self.input)} value {{ {self._picture()} zero_data: true }} }} }}]"
            for size in sizes
        ]


def _quoted(text: str) -> str:
    """Return a string of protobuf's text form."""
    return f'"{text_encoding.CEscape(text, False)}"'
