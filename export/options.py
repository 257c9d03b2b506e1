"""What an export is asked for: the switches of `alexnet export`, one dataclass for every part that builds the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alexnet.errors import ModelError

Lowering = Literal["conv", "native", "function", "plugin"]
Crops = Literal["ten", "one"]
Input = Literal["pixels", "float"]
Precision = Literal["fp32", "fp16", "bf16"]
Stem = Literal["shared", "plain"]

DEFAULT_OPSET = 18
OPSETS = range(18, 24)


@dataclass(frozen=True)
class ExportOptions:
    """The form of an exported graph.

    `lrn` is the lowering of response normalisation (docs/lrn.md); `crops` ten (section 4.1) or the centre one;
    `input` uint8 pixels [N, S, S, 3] or float planes [N, 3, S, S] of the same values 0..255; `precision` the type of
    the network's arithmetic; `stem` whether the crops share conv1 over the whole picture; `opset` the version of
    ONNX's operators; `batch` the number of pictures when it is fixed, None when it is dynamic; `external` whether the
    weights stand in a second file, as those of a model over 2 GB do in any case.
    """

    lrn: Lowering = "conv"
    crops: Crops = "ten"
    input: Input = "pixels"
    precision: Precision = "fp32"
    stem: Stem = "plain"
    opset: int = DEFAULT_OPSET
    batch: int | None = None
    external: bool = False

    def __post_init__(self) -> None:
        """Refuse an opset that is not offered (ModelError)."""
        if self.opset not in OPSETS:
            raise ModelError(
                f"opset {self.opset} is not offered, expected {OPSETS[0]} to {OPSETS[-1]}; "
                f"leave it out for {DEFAULT_OPSET}"
            )
