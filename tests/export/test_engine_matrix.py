"""A real TensorRT compiler builds every form that the exporter offers; what it refuses is a row of docs/engines.md."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import onnx
import pytest
from onnx import helper

from alexnet.calibration.layers import quantisable, tensors_of
from alexnet.calibration.quantise import QuantiseOptions, quantise
from alexnet.calibration.thresholds import Format
from alexnet.errors import BuildError
from alexnet.export.build_options import BuildOptions
from alexnet.export.cast import cast_model
from alexnet.export.engine import engine_from_onnx
from alexnet.export.expectation import metadata_of
from alexnet.export.graph import onnx_model
from alexnet.export.options import ExportOptions, Input, Lowering, Precision
from alexnet.export.source import Source
from alexnet.metadata import ModelMetadata
from alexnet.sidecar import Profile
from alexnet.stem import Stem
from alexnet.tensorrt_log import tensorrt_log

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: extra rtx")
PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
QUICK = BuildOptions(profile=Profile(1, 2, 4), compute=("sm89",), opt_level=0)
# Every form: precision int8 and fp8 are what the calibration makes of the float32 graph.
LOWERINGS, STEMS, INPUTS = get_args(Lowering), get_args(Stem), get_args(Input)
PRECISIONS = (*get_args(Precision), "int8", "fp8")
MATRIX = list(itertools.product(LOWERINGS, STEMS, PRECISIONS, INPUTS))
CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


def exceptions() -> list[tuple[dict[str, str], str]]:
    """Return the rows of the page's table of refusals: the conditions, by name, and the message."""
    rows = re.findall(r"^\| `([^|]*)` \| `(.*)` \|$", PAGE, flags=re.MULTILINE)
    return [(dict(part.split("=") for part in conditions.split()), message) for conditions, message in rows]


def documented(**form: str) -> str | None:
    """Return the message that the page gives for a form that is refused, None for one that builds."""
    for conditions, message in exceptions():
        if all(form.get(name) == value for name, value in conditions.items()):
            return message
    return None


def quantised(model: onnx.ModelProto, kind: Format) -> onnx.ModelProto:
    """Return what `alexnet calibrate` writes of a float32 graph, but for the values of its thresholds."""
    nodes = quantisable(model)
    return quantise(model, nodes, dict.fromkeys(tensors_of(nodes), 30.0), QuantiseOptions(kind))


def write(source: Source, path: Path, lrn: Any, stem: Any, precision: str, given: Any) -> Path:
    """Write a form of the network with its metadata, unproven: only the compiler is asked."""
    kind = precision if precision in get_args(Precision) else "fp32"
    options = ExportOptions(lrn=lrn, stem=stem, precision=kind, input=given)  # type: ignore[arg-type]
    model = onnx_model([source.numbers()], options)
    metadata: ModelMetadata = metadata_of([source], options)
    if kind != precision:
        model = quantised(model, precision)  # type: ignore[arg-type]
    elif kind != "fp32":
        model = cast_model(model, kind)
    values = {**metadata.to_values(), "precision": precision}
    helper.set_model_props(model, ModelMetadata.from_values(values, "made").to_properties())
    onnx.save(model, path)
    return path


def build(source: Source, folder: Path, compute: str, *form: str) -> Any:
    """Return the sidecar of a form that builds, the error of one that does not."""
    lrn, stem, precision, given = form
    model = write(source, folder / "model.onnx", lrn, stem, precision, given)
    options = BuildOptions(profile=QUICK.profile, compute=(compute,), opt_level=0)
    try:
        return engine_from_onnx(model, folder / "model.plan", "rtx", options)
    except BuildError as error:
        return error


@pytest.mark.parametrize(("lrn", "stem", "precision", "given"), MATRIX)
def test_every_form_builds_or_is_refused_as_the_page_says(
    tiny_source: Source, tmp_path: Path, lrn: str, stem: str, precision: str, given: str
) -> None:
    found = build(tiny_source, tmp_path, "sm89", lrn, stem, precision, given)
    refused = documented(lrn=lrn, stem=stem, precision=precision, input=given, compute="sm89")
    if refused is None:
        assert not isinstance(found, BuildError), found
        kinds = {found.layers[name] for name in ("conv2", "fc8")}
        assert kinds == {precision}
        return
    assert isinstance(found, BuildError)
    # A plugin is refused before the parser is asked; the page quotes what the parser itself says of the bare operator.
    said = parser_says(tmp_path / "model.onnx") if lrn == "plugin" else found.message
    assert refused in said


@pytest.mark.parametrize(("compute", "precision"), list(itertools.product(CAPABILITIES, PRECISIONS)))
def test_every_capability_builds_each_precision_or_is_refused_as_the_page_says(
    tiny_source: Source, tmp_path: Path, compute: str, precision: str
) -> None:
    found = build(tiny_source, tmp_path, compute, "conv", "plain", precision, "pixels")
    refused = documented(lrn="conv", stem="plain", precision=precision, input="pixels", compute=compute)
    if refused is None:
        assert not isinstance(found, BuildError), found
        return
    assert isinstance(found, BuildError)
    assert refused in found.message


def test_each_row_of_the_page_is_a_form_that_is_tried() -> None:
    tried = [
        *({"lrn": lrn, "stem": s, "precision": p, "input": i, "compute": "sm89"} for lrn, s, p, i in MATRIX),
        *({"precision": p, "compute": c} for p, c in itertools.product(PRECISIONS, CAPABILITIES)),
    ]
    assert exceptions()
    for conditions, message in exceptions():
        assert any(conditions.items() <= form.items() for form in tried), conditions
        assert message


def parser_says(model: Path) -> str:
    """Return the errors of the parser itself, as one text."""
    log = tensorrt_log(trt)
    # The builder must outlive the network, and the network the parser.
    builder = trt.Builder(log)
    network = builder.create_network(1)
    parser = trt.OnnxParser(network, log)
    assert not parser.parse(model.read_bytes())
    return " ".join(errors(parser))


def errors(parser: Any) -> Iterator[str]:
    for place in range(parser.num_errors):
        yield parser.get_error(place).desc()
