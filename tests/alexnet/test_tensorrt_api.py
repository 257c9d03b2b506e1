"""The protocols that the builder is checked against, held against whichever TensorRT is installed."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from alexnet import tensorrt_api
from alexnet.tensorrt_api import AHEAD_OF_TIME, DESCRIBED

MODULES = ("tensorrt", "tensorrt_rtx")


def installed(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"{name} is not installed")


def members(protocol: type) -> set[str]:
    return {name for name in {**protocol.__annotations__, **vars(protocol)} if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_every_member_that_is_called_exists(name: str) -> None:
    trt = installed(name)
    for protocol, described in DESCRIBED.items():
        wanted = members(protocol) - (set(AHEAD_OF_TIME) if name == "tensorrt" else set())
        assert wanted
        assert [member for member in sorted(wanted) if not hasattr(getattr(trt, described), member)] == [], described
    assert [member for member in members(tensorrt_api.TensorRT) if not hasattr(trt, member)] == []


@pytest.mark.parametrize("name", MODULES)
def test_the_flags_that_switches_need_exist_where_the_table_says_so(name: str) -> None:
    trt = installed(name)
    modules = importlib.import_module("alexnet.export.tensorrt_module")
    (module,) = (module for module in modules.MODULES.values() if module.name == name)
    for switch, flags in modules.FLAGS.items():
        if switch not in module.lacks:
            assert [flag for flag in flags if not hasattr(trt.BuilderFlag, flag)] == []


def test_a_member_that_is_gone_would_be_found() -> None:
    assert {"parse", "num_errors", "get_error"} <= members(tensorrt_api.OnnxParser)
    assert {"Builder", "OnnxParser", "IProgressMonitor"} <= members(tensorrt_api.TensorRT)
