"""A list of ONNX nodes in the making: named nodes, named constants, one output each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


class GraphBuilder:
    """Collects nodes, initialisers and functions; each node is named after what it does, and so is its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        # Bodies of operators of other domains: those that the model keeps, and those of operators that some library
        # computes, which say no more than the shape of the output and are dropped after shape inference.
        self.functions: dict[str, onnx.FunctionProto] = {}
        self.shapes: dict[str, onnx.FunctionProto] = {}
        # Domains beside ONNX's own whose operators the nodes use.
        self.domains: set[str] = set()
        self.prefix = ""

    @contextmanager
    def prefixed(self, prefix: str) -> Iterator[None]:
        """Put `prefix` before every name that is made inside: the networks of an ensemble have the same layers."""
        before, self.prefix = self.prefix, prefix
        try:
            yield
        finally:
            self.prefix = before

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initialiser and return its name."""
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), self.prefix + name))
        return self.prefix + name

    def integers(self, name: str, values: list[int]) -> str:
        """Add an int64 initialiser, as Slice, Reshape and ReduceMean take their arguments."""
        return self.constant(name, np.array(values, dtype=np.int64))

    def node(self, operator: str, inputs: list[str], name: str, output: str | None = None, **attributes: Any) -> str:
        """Append an ONNX operator with one output, named like the node unless `output` is given, whole."""
        name = self.prefix + name
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def split(self, x: str, name: str, outputs: list[str], axis: int) -> list[str]:
        """Append a Split of `x` into equal parts along `axis`, one for each name in `outputs`, and return those."""
        name, outputs = self.prefix + name, [self.prefix + output for output in outputs]
        self.nodes.append(helper.make_node("Split", [x], outputs, name=name, axis=axis, num_outputs=len(outputs)))
        return outputs

    def slice(self, x: str, name: str, first: list[int], end: list[int], axes: list[int]) -> str:
        """Append the part of `x` from `first` to before `end` along `axes` (ONNX Slice)."""
        arguments = (("first", first), ("end", end), ("axes", axes))
        return self.node("Slice", [x, *(self.integers(f"{name}/{key}", value) for key, value in arguments)], name)

    def mirror(self, x: str, name: str, side: int) -> str:
        """Append `x` [.., .., .., side] with its columns in the opposite order."""
        backwards = (("first", side - 1), ("end", -(side + 1)), ("axis", 3), ("step", -1))
        return self.node("Slice", [x, *(self.integers(f"{name}/{key}", [value]) for key, value in backwards)], name)
