"""What `alexnet infer --ray` is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alexnet.errors import InputError

# The address of a cluster on this machine, which ends with the command.
LOCAL = "local"
_ADDRESS = re.compile(r"local|auto|ray://.+|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


def addressed(value: str, paths: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return what stands after --ray, which may lack, as an address, or as the first of the paths when it is none."""
    return (value, paths) if _ADDRESS.fullmatch(value) else (LOCAL, (value, *paths))


@dataclass(frozen=True)
class ClusterOptions:
    """How many pictures are classified, and where.

    `address` is that of a running cluster (HOST:PORT or auto), or local for one on this machine that ends with the
    command; `output` the folder of results, a `form` of Parquet or JSON lines; `workers` their number, None for as many
    as the cluster has room for; `cores` those of each, None for one GPU each, or for 4 cores where there is none. The
    others are those of `alexnet.runtime.session.InferOptions`.
    """

    output: Path
    address: str
    form: Literal["parquet", "jsonl"]
    workers: int | None
    cores: int | None
    top: int
    batch: int
    crops: str | None
    scaled: bool
    resume: bool
    quiet: bool

    @staticmethod
    def asked(form: str | None, output: Path | None, **rest: Any) -> ClusterOptions:
        """Return the options of a command line; InputError for what goes with one machine only."""
        for name in ("features", "gpu_decoding", "strict"):
            if rest.pop(name):
                raise InputError(f"--{name.replace('_', '-')} does not go with --ray; leave one of them out")
        rest.pop("features_of")
        if output is None or not output.name:
            raise InputError("--ray writes a folder of results; name it with: -o results")
        if form not in (None, "jsonl"):
            raise InputError(f"--{form} does not go with --ray, which writes Parquet, or with --jsonl JSON lines")
        return ClusterOptions(output=output, form="jsonl" if form == "jsonl" else "parquet", **rest)
