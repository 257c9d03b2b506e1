"""What an export is asked for: the switches of `alexnet export`, one dataclass for every part that builds the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alexnet.errors import ModelError
from alexnet.stem import Stem

Lowering = Literal["conv", "native", "function", "plugin"]
Crops = Literal["ten", "one"]
Input = Literal["pixels", "float"]
Precision = Literal["fp32", "fp16", "bf16"]

# The least opset offered, by precision: Conv and the poolings take bfloat16 from 22 on.
LEAST_OPSET: dict[Precision, int] = {"fp32": 18, "fp16": 18, "bf16": 22}
LARGEST_OPSET = 23


@dataclass(frozen=True)
class ExportOptions:
    """The form of an exported graph.

    `lrn` is the lowering of response normalisation (docs/lrn.md); `crops` ten (section 4.1) or the centre one;
    `input` uint8 pixels [N, S, S, 3] or float planes [N, 3, S, S] of the same values 0..255; `precision` the type of
    the network's arithmetic; `stem` how many layers the crops share over the whole picture (conv1, or with `deep`
    conv2 too); `opset` the version of
    ONNX's operators, None for the least that the precision takes; `batch` the number of pictures when it is fixed,
    None when it is dynamic; `external` whether the weights stand in a second file, as those of a model over 2 GB do
    in any case.
    """

    lrn: Lowering = "conv"
    crops: Crops = "ten"
    input: Input = "pixels"
    precision: Precision = "fp32"
    stem: Stem = "plain"
    opset: int | None = None
    batch: int | None = None
    external: bool = False

    def __post_init__(self) -> None:
        """Refuse an opset that is not offered (ModelError)."""
        least = LEAST_OPSET[self.precision]
        if not least <= self.version <= LARGEST_OPSET:
            raise ModelError(
                f"opset {self.opset} is not offered for {self.precision}, expected {least} to {LARGEST_OPSET}; "
                f"leave it out for {least}"
            )

    @property
    def version(self) -> int:
        """The opset that the graph is made of."""
        return LEAST_OPSET[self.precision] if self.opset is None else self.opset
