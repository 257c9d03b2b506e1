"""What is called of TensorRT, as types: one interface for `tensorrt` 10 and 11 and for `tensorrt_rtx`.

None of the three publishes types. Both builder and runtime are written and checked against these protocols, and a test
holds them against whichever module is installed. TensorRT's enumerations have members that differ between the
modules and stand here as Any; `alexnet.export.tensorrt_module` says which are missing where.
"""

from __future__ import annotations

from typing import Any, Protocol


class ParserError(Protocol):
    """IParserError: one fault that the ONNX parser found."""

    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...
    def local_function_stack(self) -> list[str]: ...


class OnnxParser(Protocol):
    """IParser: fills a network from an ONNX file."""

    num_errors: int

    def parse(self, model: bytes, path: str | None = None) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class Tensor(Protocol):
    """ITensor: an input or output of a network."""

    name: str
    shape: Any


class Network(Protocol):
    """INetworkDefinition."""

    num_layers: int

    def get_input(self, index: int) -> Tensor: ...


class Profile(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None: ...


class TimingCache(Protocol):
    """ITimingCache."""

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def serialize(self) -> bytes: ...


class Config(Protocol):
    """IBuilderConfig; the compute capabilities are those of tensorrt_rtx alone."""

    builder_optimization_level: int
    hardware_compatibility_level: Any
    progress_monitor: Any
    num_compute_capabilities: int

    def add_optimization_profile(self, profile: Profile) -> int: ...
    def set_flag(self, flag: Any) -> None: ...
    def clear_flag(self, flag: Any) -> None: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...
    def set_compute_capability(self, compute_capability: Any, index: int) -> bool: ...


class Builder(Protocol):
    """IBuilder."""

    def create_network(self, flags: int) -> Network: ...
    def create_builder_config(self) -> Config: ...
    def create_optimization_profile(self) -> Profile: ...
    def build_serialized_network(self, network: Network, config: Config) -> Any: ...


class Log(Protocol):
    """ILogger as `alexnet.tensorrt_log` makes it."""

    errors: list[str]
    warnings: list[str]

    def last(self) -> str: ...


class MakesParser(Protocol):
    """The constructor of OnnxParser."""

    def __call__(self, network: Network, logger: Log) -> OnnxParser: ...


class MakesBuilder(Protocol):
    """The constructor of Builder."""

    def __call__(self, logger: Log) -> Builder: ...


class TensorRT(Protocol):
    """The module: what the builder uses of it."""

    __name__: str
    __version__: str
    Builder: MakesBuilder
    OnnxParser: MakesParser
    BuilderFlag: Any
    HardwareCompatibilityLevel: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    ILogger: Any
    IProgressMonitor: Any


# Protocol -> the class of the module that it describes: what the test of the installed module goes by.
DESCRIBED: dict[type, str] = {
    ParserError: "ParserError",
    OnnxParser: "OnnxParser",
    Tensor: "ITensor",
    Network: "INetworkDefinition",
    Profile: "IOptimizationProfile",
    TimingCache: "ITimingCache",
    Config: "IBuilderConfig",
    Builder: "Builder",
}
# Members of Config that only tensorrt_rtx has.
AHEAD_OF_TIME = ("num_compute_capabilities", "set_compute_capability")
