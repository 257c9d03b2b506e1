"""What TensorRT's parser and builder refuse, in one line: the node, the reason, and what to change."""

from __future__ import annotations

from pathlib import Path

from alexnet.tensorrt_api import Log, OnnxParser, ParserError

# Words of a refusal -> what to change; the first that occurs counts.
PARSER_CHANGES = (
    ("Plugin not found", "no importer or plugin is known for it: export with --lrn conv (or native, function)"),
    ("No importer registered", "no importer is known for it: export with --lrn conv (or native, function)"),
    ("DequantizeLinear", "quantise the float32 model with alexnet calibrate: biases stay in float"),
    ("QuantizeLinear", "quantise the float32 model with alexnet calibrate: INT8 or FP8 (E4M3), scales in float32"),
    ("zero point", "only symmetric quantisation is taken: quantise the float32 model with alexnet calibrate"),
    ("opset", "export again with the default --opset"),
    ("external", "copy the model with its .data file, or export again without --external-data"),
)
BUILDER_CHANGES = (
    ("Turing", "leave sm75 out of --compute, or export with --precision fp16: it has no float32 matrix product"),
    ("HW-specific datatypes: b16", "leave sm75 out of --compute: it has no bfloat16"),
    ("HW-specific datatypes: fp8", "leave what is older than sm89 out of --compute: it has no FP8"),
    ("HW-specific datatypes", "leave the capabilities without this type out of --compute"),
    ("graph_jit", "compiling a plan without its weights needs a GPU: build there, or leave --strip-weights out"),
    ("libnvinfer_lean", "install the lean runtime (tensorrt-lean), or leave --version-compatible out"),
    ("OutOfMemory", "give more --workspace, or a smaller --batch"),
    ("out of memory", "close other programs on the GPU, or give a smaller --batch"),
    ("Could not find any implementation", "give more --workspace, or a higher --opt-level"),
    ("insufficient", "update the NVIDIA driver, or build with --target rtx"),
)
AGAIN = "replace the operator, or export again with: alexnet export --onnx"


def parser_refusal(parser: OnnxParser, model: Path) -> str:
    """Return the parser's first error as one line, with the number of the others."""
    number = parser.num_errors
    if not number:
        return f"TensorRT's parser refuses {model} and gives no reason; {AGAIN}"
    error = parser.get_error(0)
    change = next((change for words, change in PARSER_CHANGES if words in _said(error)), AGAIN)
    more = f" (and {number - 1} more)" if number > 1 else ""
    return f"TensorRT's parser refuses {_node(error)} of {model}{more}: {error.desc().strip()}; {change}"


def _said(error: ParserError) -> str:
    """Return the operator and the description of an error, in which the words of a change are looked for."""
    return f"{error.node_operator()} {error.desc()}"


def _node(error: ParserError) -> str:
    """Return the node of an error in words, and the function it stands in."""
    if not error.node_operator():
        return "the model"
    inside = error.local_function_stack()
    where = f" in {' in '.join(inside)}" if inside else ""
    return f"node {error.node_name()!r} ({error.node_operator()}){where}"


def builder_refusal(log: Log, model: Path, module: str) -> str:
    """Return the builder's last error as one line, with the change that helps where it is known."""
    said = log.last()
    change = next(
        (change for words, change in BUILDER_CHANGES if words in said), "try other --compute or --batch values"
    )
    return f"{module} could not build {model}: {said}; {change}"
