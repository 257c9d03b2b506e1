"""The custom operator `alexnet.ResponseNorm` and the ONNX Runtime library that computes it.

    y = x / (k + alpha * sum of x^2 over the `size` adjacent maps of a group)^beta        (section 3.3)

of x [N, C, H, W], C in `groups` equal parts; alpha multiplies the sum itself. Two more inputs are allowed and
carry nothing new: the band and the bias with which a model's function body computes the same (docs/lrn.md).
`make ops` compiles library.cc and response_norm.h beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import inliner

from alexnet.errors import MissingPackageError
from alexnet.files import sha256_of, write_bytes

DOMAIN, OPERATOR, VERSION = "alexnet", "ResponseNorm", 1
# The property of a model that was proven with the library: the digest of the library's bytes.
DIGEST = "alexnet_ops_sha256"
LIBRARY = Path(__file__).with_name("alexnet_ops.so")


def ops_library() -> Path:
    """Return the path of the built library; MissingPackageError, naming `make ops`, when it is not built."""
    if not LIBRARY.is_file():
        raise MissingPackageError(
            f"the operator {DOMAIN}.{OPERATOR} needs the library {LIBRARY.name}, which is not built; build it in a "
            "checkout with: make ops (or export again with: --lrn function, which needs none)"
        )
    return LIBRARY


def needs_ops(model: onnx.ModelProto) -> bool:
    """Return whether a model has a node of the domain without a function body of its own for it."""
    bodies = {function.name for function in model.functions if function.domain == DOMAIN}
    return any(node.domain == DOMAIN and node.op_type not in bodies for node in model.graph.node)


def register(options: Any, model: onnx.ModelProto) -> None:
    """Give an `onnxruntime.SessionOptions` what `model` needs: nothing, or this package's own library.

    A library that lies beside a model is never loaded: it is code, and the model may be anybody's.
    """
    if needs_ops(model):
        options.register_custom_ops_library(str(ops_library()))


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the bodies of its functions in the place of their nodes, or itself when it has none.

    OpenVINO does not inline a model's functions itself; ONNX Runtime and TensorRT do.
    """
    return inliner.inline_local_functions(model) if model.functions else model


def write_ops_library(model: onnx.ModelProto, folder: Path) -> Path | None:
    """Copy the library that `model` needs into `folder`, note its digest in the model, and return its path.

    The copy serves programs without this package, such as C++ ones; None, with nothing written, when none is needed.
    """
    if not needs_ops(model):
        return None
    library, copy = ops_library(), folder / LIBRARY.name
    write_bytes(copy, library.read_bytes())
    model.metadata_props.add(key=DIGEST, value=sha256_of(copy))
    return copy
