"""A stand-in for the module `tensorrt`, which builds only where a GPU is: it records what a build asks of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.export.conftest import SIDE

PLAN = b"the bytes of an engine"


class TimingCache:
    def __init__(self, data: bytes) -> None:
        self.entries = set(data.split(b",")) - {b""}

    def combine(self, other: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.entries |= other.entries
        return True

    def serialize(self) -> bytes:
        return b",".join(sorted(self.entries))


class Config:
    def __init__(self, log: Any) -> None:
        self.log = log
        self.flags: set[str] = {"TF32"}
        self.pools: dict[str, int] = {}
        self.profiles: list[Any] = []
        self.cache: TimingCache | None = None
        self.progress_monitor: Any = None

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, data: bytes) -> TimingCache:
        if data.startswith(b"damaged"):
            self.log.log("WARNING", "Failed to deserialize timing cache. Returning an empty timing cache.")
            return TimingCache(b"")
        return TimingCache(data)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if b"other-gpu" in cache.entries:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache


class Module:
    """The module: `configs` are those that builds made, `during` is called in the middle of a build."""

    __name__ = "tensorrt"
    __version__ = "10.9.0"

    def __init__(self, without: tuple[str, ...] = (), during: Callable[[Config], None] = lambda config: None) -> None:
        self.configs: list[Config] = []
        self.during = during
        flags = ("TF32", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "STRIP_PLAN", "REFIT_IDENTICAL")
        self.BuilderFlag = SimpleNamespace(**{flag: flag for flag in flags if flag not in without})
        self.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="AMPERE_PLUS")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        severities = SimpleNamespace(ERROR="ERROR", INTERNAL_ERROR="INTERNAL_ERROR", WARNING="WARNING")
        self.ILogger = type("ILogger", (), {"Severity": severities})
        self.IProgressMonitor = type("IProgressMonitor", (), {})

    def OnnxParser(self, network: Any, log: Any) -> Any:
        return SimpleNamespace(parse=lambda data, path: True, num_errors=0)

    def Builder(self, log: Any) -> Any:
        def config() -> Config:
            self.configs.append(Config(log))
            return self.configs[-1]

        shapes: dict[str, Any] = {}
        profile = SimpleNamespace(shapes=shapes, set_shape=lambda name, *sizes: shapes.update({name: sizes}))
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(
                get_input=lambda place: SimpleNamespace(shape=(-1, SIDE, SIDE, 3))
            ),
            create_builder_config=config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=self.build,
        )

    def build(self, network: Any, config: Config) -> bytes | None:
        """Go through two phases, as TensorRT does, and stop where the monitor says so."""
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        for step in range(2):
            self.during(config)
            if not monitor.step_complete("Building engine", step):
                return None
        monitor.phase_finish("Building engine")
        if config.cache is not None:
            config.cache.entries.add(b"measured")
        return PLAN
