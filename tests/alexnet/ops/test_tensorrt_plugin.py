"""What of the TensorRT plugin can be tried without a GPU: fields, shapes and types, and that its kernel compiles."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alexnet.errors import BuildError
from alexnet.ops.tensorrt_plugin import FIELDS, kernel_code, launch_arguments, plugin_creator, register_plugin

trt = pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx, whose classes stand in for tensorrt's, is not installed"
)
PAPER = {"size": 5, "groups": 2, "alpha": 1e-4, "beta": 0.75, "k": 2.0}


def fields(values: dict[str, Any]) -> Any:
    kinds = {np.int32: trt.PluginFieldType.INT32, np.float32: trt.PluginFieldType.FLOAT32}
    made = [trt.PluginField(name, np.array([values[name]], kind), kinds[kind]) for name, kind in FIELDS.items()]
    return trt.PluginFieldCollection(made)


@pytest.fixture
def plugin() -> Any:
    return plugin_creator(trt).create_plugin("lrn1", fields(PAPER), None)


def test_attributes_pass_through_an_engine(plugin: Any) -> None:
    creator = plugin_creator(trt)
    assert (creator.name, creator.plugin_namespace, creator.plugin_version) == ("ResponseNorm", "alexnet", "1")
    assert [field.name for field in creator.field_names] == list(PAPER)
    again = creator.create_plugin("lrn1", plugin.get_fields_to_serialize(), None)
    for made in (plugin, again, again.clone(), plugin.attach_to_context(None)):
        assert {name: pytest.approx(float(value)) for name, value in made.values.items()} == PAPER


def test_the_output_is_as_the_input(plugin: Any) -> None:
    assert plugin.get_output_data_types([trt.DataType.HALF] * 3) == [trt.DataType.HALF]
    assert plugin.num_outputs == 1


@pytest.mark.parametrize(
    ("first", "other", "taken"),
    [("FLOAT", "FLOAT", True), ("HALF", "HALF", True), ("FLOAT", "HALF", False), ("INT8", "INT8", False)],
)
def test_the_types_it_takes(plugin: Any, first: str, other: str, taken: bool) -> None:
    def described(kind: str, form: Any = trt.TensorFormat.LINEAR) -> Any:
        return SimpleNamespace(desc=SimpleNamespace(type=getattr(trt.DataType, kind), format=form))

    assert plugin.supports_format_combination(1, [described(first), described(other)], 1) is taken
    assert not plugin.supports_format_combination(0, [described("FLOAT", trt.TensorFormat.CHW32)], 1)


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
def test_the_kernel_compiles_without_a_gpu(arch: str) -> None:
    pytest.importorskip("cuda.core")
    pathfinder = pytest.importorskip("cuda.pathfinder")
    try:
        pathfinder.load_nvidia_dynamic_lib("nvrtc")
    except RuntimeError:
        pytest.skip("NVRTC is not installed: extra dev or gpu")
    code = kernel_code(arch).code
    assert code[:4] == b"\x7fELF"
    assert b"response_norm_float" in code
    assert b"response_norm_half" in code


def test_the_launch_covers_every_value() -> None:
    blocks, arguments = launch_arguments(PAPER, (10, 96, 55, 55))
    assert blocks * 256 >= 10 * 96 * 55 * 55 > (blocks - 1) * 256
    assert [int(value) for value in arguments[:4]] == [10 * 96 * 55 * 55, 55 * 55, 48, 2]
    assert [value.dtype for value in arguments] == [np.int64] * 2 + [np.int32] * 2 + [np.float32] * 3


def test_tensorrt_rtx_takes_no_plugins() -> None:
    with pytest.raises(BuildError, match=r"tensorrt_rtx .* takes no plugins.*--lrn conv"):
        register_plugin(trt)


def test_the_creator_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, str]] = []
    registry = SimpleNamespace(register_creator=lambda creator, domain: told.append((creator, domain)))

    class Module:
        """tensorrt as far as registration goes, over the classes of tensorrt_rtx."""

        INetworkDefinition = SimpleNamespace(add_plugin_v3=None)
        get_plugin_registry: Callable[[], Any] = staticmethod(lambda: registry)

        def __getattr__(self, name: str) -> Any:
            return getattr(trt, name)

    module = Module()
    register_plugin(module)
    register_plugin(module)
    assert [(creator.name, domain) for creator, domain in told] == [("ResponseNorm", "alexnet")]
