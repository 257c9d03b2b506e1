"""The operator `alexnet.ResponseNorm` as a TensorRT plugin in Python, its CUDA kernel compiled by NVRTC when first run.

TensorRT API: IPluginV3 (core, build and runtime), IPluginCreatorV3One. An engine with it holds the attributes but
not the code: who deserialises it registers the plugin first. tensorrt_rtx declares these classes but its networks
take no plugins (its parser ends the process when one is registered), so there it is refused.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import BuildError, missing_package
from alexnet.ops import DOMAIN, OPERATOR, VERSION

SOURCE = Path(__file__).with_name("response_norm.cu")
THREADS = 256
# Attribute of the node -> the type that TensorRT's parser gives it.
FIELDS: dict[str, Any] = {
    "size": np.int32,
    "groups": np.int32,
    "alpha": np.float32,
    "beta": np.float32,
    "k": np.float32,
}


def register_plugin(trt: Any) -> None:
    """Make the plugin known to the TensorRT module `trt`, once; BuildError where its networks take no plugins."""
    if not hasattr(trt.INetworkDefinition, "add_plugin_v3"):
        raise BuildError(
            f"{trt.__name__} {trt.__version__} takes no plugins, and the model has a bare {DOMAIN}.{OPERATOR}; export "
            "it again with: alexnet export --onnx --lrn conv (or function), or build with --target gpu"
        )
    _registered(trt)


@cache
def _registered(trt: Any) -> Any:
    """Register the creator; TensorRT keeps no reference of its own, the cache does."""
    creator = plugin_creator(trt)
    trt.get_plugin_registry().register_creator(creator, DOMAIN)
    return creator


@cache
def kernel_code(arch: str) -> Any:
    """Return the kernels compiled for a GPU such as sm_90 (`cuda.core.ObjectCode`); needs no GPU.

    Raises MissingPackageError without cuda-python or NVRTC.
    """
    try:
        from cuda.core import Program, ProgramOptions

        program = Program(SOURCE.read_text(encoding="ascii"), "c++", ProgramOptions(arch=arch))
    except (ImportError, RuntimeError):
        # cuda-pathfinder's error for a library that is not found is a RuntimeError.
        raise missing_package("cuda-python with nvidia-cuda-nvrtc", "gpu", f"the TensorRT plugin {OPERATOR}") from None
    return program.compile("cubin")


def launch_arguments(values: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, tuple[Any, ...]]:
    """Return the number of blocks and what the kernel takes after its two pointers, for x [N, C, H, W]."""
    total, width = math.prod(shape), shape[1] // int(values["groups"])
    whole = np.int64(total), np.int64(shape[2] * shape[3]), np.int32(width), np.int32(int(values["size"]) // 2)
    return -(-total // THREADS), (*whole, *(np.float32(values[name]) for name in ("alpha", "beta", "k")))


def _launch(values: dict[str, Any], shape: tuple[int, ...], kernel: str, x: int, y: int, stream: int) -> None:
    """Queue the kernel on TensorRT's stream, on the GPU that is current."""
    from cuda.core import Device, LaunchConfig, Stream, launch

    device = Device()
    device.set_current()
    blocks, arguments = launch_arguments(values, shape)
    function = kernel_code(f"sm_{device.arch}").get_kernel(kernel)
    launch(Stream.from_handle(stream), LaunchConfig(grid=blocks, block=THREADS), function, x, y, *arguments)


def plugin_creator(trt: Any) -> Any:
    """Return an object of `trt` (IPluginCreatorV3One) that makes the plugin from a node's attributes."""
    plugin = _plugin_class(trt)
    kinds = {np.int32: trt.PluginFieldType.INT32, np.float32: trt.PluginFieldType.FLOAT32}

    # The base class comes from whichever of the two modules is installed, which mypy cannot know.
    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_namespace, self.plugin_version = OPERATOR, DOMAIN, str(VERSION)
            fields = [trt.PluginField(name, np.array([], dtype=kind), kinds[kind]) for name, kind in FIELDS.items()]
            self.field_names = trt.PluginFieldCollection(fields)

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            return plugin({field.name: field.data[0] for field in fields if field.name in FIELDS})

    return Creator()


def _plugin_class(trt: Any) -> Any:
    """Return the plugin's class over the base classes of `trt`."""
    kernels = {trt.DataType.FLOAT: "response_norm_float", trt.DataType.HALF: "response_norm_half"}
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)

    class Plugin(*bases):  # type: ignore[misc]
        """y of the shape and type of x; two more inputs, the band and the bias of a function body, are not read."""

        def __init__(self, values: dict[str, Any]) -> None:
            for base in bases:
                base.__init__(self)
            self.values = values
            self.num_outputs = 1
            self.plugin_name, self.plugin_namespace, self.plugin_version = OPERATOR, DOMAIN, str(VERSION)

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            return Plugin(self.values)

        def get_output_data_types(self, inputs: list[Any]) -> list[Any]:
            return [inputs[0]]

        def get_output_shapes(self, inputs: list[Any], shapes: list[Any], builder: Any) -> list[Any]:
            return [trt.DimsExprs(inputs[0])]

        def supports_format_combination(self, place: int, tensors: list[Any], inputs: int) -> bool:
            tensor, first = tensors[place].desc, tensors[0].desc
            plain: bool = tensor.format == trt.TensorFormat.LINEAR
            return plain and tensor.type in kernels and tensor.type == first.type

        def configure_plugin(self, inputs: list[Any], outputs: list[Any]) -> None: ...

        def on_shape_change(self, inputs: list[Any], outputs: list[Any]) -> None: ...

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def get_fields_to_serialize(self) -> Any:
            kinds = {np.int32: trt.PluginFieldType.INT32, np.float32: trt.PluginFieldType.FLOAT32}
            fields = [
                trt.PluginField(name, np.array([self.values[name]], dtype=kind), kinds[kind])
                for name, kind in FIELDS.items()
            ]
            return trt.PluginFieldCollection(fields)

        def enqueue(
            self, taken: list[Any], given: list[Any], inputs: list[int], outputs: list[int], workspace: int, stream: int
        ) -> None:
            shape = tuple(taken[0].dims)
            _launch(self.values, shape, kernels[taken[0].type], inputs[0], outputs[0], stream)

    return Plugin
