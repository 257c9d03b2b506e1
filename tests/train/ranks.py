"""Real processes for the tests of columns and meshes: each runs a function of this module's caller under gloo."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp


def _rank(
    rank: int, function: Callable[..., None], ranks: int, port: int, out: str, arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(ranks)}
    torch.set_num_threads(1)
    function(rank, Path(out), *arguments)


def run_ranks(function: Callable[..., None], ranks: int, out: Path, *arguments: Any) -> None:
    """Run function(rank, out, *arguments) in `ranks` processes that find one another, and wait for all."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, (function, ranks, port, str(out), arguments), nprocs=ranks)
