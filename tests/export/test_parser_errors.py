from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alexnet.export.parser_errors import builder_refusal, parser_refusal

MODEL = Path("model.onnx")


def parser(*errors: tuple[str, str, str]) -> Any:
    made = [
        SimpleNamespace(
            node_name=lambda name=name: name,
            node_operator=lambda operator=operator: operator,
            desc=lambda desc=desc: desc,
            local_function_stack=list,
        )
        for name, operator, desc in errors
    ]
    return SimpleNamespace(num_errors=len(made), get_error=lambda place: made[place])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (("lrn1", "ResponseNorm", "Plugin not found, are the"), "node 'lrn1' (ResponseNorm) of model.onnx: Plugin not"),
        (("lrn1", "ResponseNorm", "Plugin not found, are the"), "export with --lrn conv"),
        (("b", "DequantizeLinear", "int32 is not supported"), "with alexnet calibrate: biases stay in float"),
        (("q", "QuantizeLinear", "zero point must be 0"), "with alexnet calibrate: INT8 or FP8"),
        (("", "", "unknown opset version 30"), "the model of model.onnx: unknown opset version 30; export again with"),
        (("x", "Wobble", "nobody knows"), "replace the operator, or export again with: alexnet export --onnx"),
    ],
)
def test_a_refusal_names_the_node_the_reason_and_the_change(error: tuple[str, str, str], words: str) -> None:
    assert words in parser_refusal(parser(error), MODEL)


def test_the_number_of_other_errors_is_said_and_none_is_said_too() -> None:
    assert "of model.onnx (and 1 more): one;" in parser_refusal(parser(("a", "A", "one"), ("b", "B", "two")), MODEL)
    assert "gives no reason" in parser_refusal(parser(), MODEL)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("Cannot compile operation 'fc6' for Turing (SM75)", "leave sm75 out of --compute, or export with --precision"),
        ("Cannot compile for target(s) sm75, because the model contains HW-specific datatypes: b16", "no bfloat16"),
        ("graph_jit.cpp:278: CHECK(status == CUDA_SUCCESS) failed", "leave --strip-weights out"),
        ("Could not find any implementation for node conv1", "more --workspace"),
        ("something else", "try other --compute or --batch values"),
    ],
)
def test_what_the_builder_says_leads_to_a_change(said: str, change: str) -> None:
    log: Any = SimpleNamespace(last=lambda: said)
    refusal = builder_refusal(log, MODEL, "tensorrt_rtx")
    assert said in refusal
    assert change in refusal
