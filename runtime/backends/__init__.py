"""The backends: one small interface, one table, a file for each library, and the choice among them."""

from alexnet.runtime.backends.choice import Choice, choose_backend, open_backend
from alexnet.runtime.backends.interface import (
    Backend,
    BackendOptions,
    FeatureBackend,
    Floats,
    OutOfMemory,
    Pixels,
)
from alexnet.runtime.backends.table import BACKENDS, NAMES, BackendInfo

__all__ = [
    "BACKENDS",
    "NAMES",
    "Backend",
    "BackendInfo",
    "BackendOptions",
    "Choice",
    "FeatureBackend",
    "Floats",
    "OutOfMemory",
    "Pixels",
    "choose_backend",
    "open_backend",
]
