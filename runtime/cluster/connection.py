"""The Ray cluster, a running one or one on this machine for as long as the command, and its room for workers."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet.errors import DeviceError, InputError, missing_package
from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.backends.table import CPU, find_backend
from alexnet.runtime.cluster.options import LOCAL, ClusterOptions

# Cores of a worker where nothing else is said.
CORES = 4
# Bytes of shared memory for a cluster on this machine: names and counts pass through it, and no pictures.
STORE = 200_000_000
# Ray waits half a minute for what it starts, which a busy machine may exceed.
STARTS = 3


@dataclass(frozen=True)
class Room:
    """The workers that run at once, the cores of each, and whether each has a GPU."""

    workers: int
    cores: int
    gpu: bool

    def words(self) -> str:
        """Return it as a few words for a summary."""
        each = f"{self.cores} core{'s' * (self.cores > 1)}{' and a GPU' * self.gpu}"
        return f"{self.workers} worker{'s' * (self.workers > 1)} of {each}"


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster, without Ray's usage statistics and dashboard.

    Raises MissingPackageError without Ray, InputError for an address of another kind and DeviceError when nothing
    answers there.
    """
    if address.startswith("ray://"):
        raise InputError(f"{address} is that of a Ray client; run the command on a machine of the cluster: --ray auto")
    # Read when Ray is imported, and by what it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError:
        raise missing_package("ray", "ray", "--ray") from None
    # Ray prints what it says of dead workers to standard output.
    with contextlib.redirect_stdout(sys.stderr):
        _connect(ray, address)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield ray
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, or start one here; DeviceError when that fails."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": STORE}
    for left in reversed(range(STARTS if address == LOCAL else 1)):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:
            # Ray raises bare exceptions too.
            ray.shutdown()
            reason = str(error).strip().partition("\n")[0]
            if left:
                continue
            if address == LOCAL:
                raise DeviceError(f"Ray does not start on this machine: {reason}; try when less runs here") from None
            raise DeviceError(f"no Ray cluster at {address}: {reason}; start one with: ray start --head") from None


def room_for(nodes: Sequence[dict[str, Any]], options: ClusterOptions, opened: BackendOptions) -> Room:
    """Return the workers for a cluster of `nodes` (`ray.nodes()`); InputError when it has no room for what was asked.

    Each has a GPU where the cluster has any, unless --cores-per-worker or a CPU's backend was asked for.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    gpus = [int(machine.get("GPU", 0)) for machine in machines]
    on_cpu = opened.name is not None and find_backend(opened.name).device == CPU
    if any(gpus) and options.cores is None and not on_cpu:
        each = max(1, min(here // number for here, number in zip(cores, gpus, strict=True) if number))
        return Room(_workers(options, sum(gpus), "a GPU each"), each, gpu=True)
    largest = max(cores, default=0)
    each = options.cores or max(1, min(CORES, largest))
    if each > largest:
        raise InputError(f"no machine of the cluster has {each} cores, the largest has {largest}; give fewer cores")
    return Room(_workers(options, sum(here // each for here in cores), f"{each} cores each"), each, gpu=False)


def _workers(options: ClusterOptions, most: int, each: str) -> int:
    """Return the number of workers; InputError when the cluster has not room for as many."""
    if options.workers is not None and options.workers > most:
        raise InputError(
            f"the cluster has room for {most} workers of {each}, --workers {options.workers} was asked for"
        )
    return options.workers or most
