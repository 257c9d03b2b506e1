"""Restarts under torchrun: a rank that was started again goes on with its job's run, without being told to.

torchrun starts all ranks again when one of them dies, and when a machine leaves or joins. It counts the first kind
(TORCHELASTIC_RESTART_COUNT) for each machine and the second not at all, so a run also remembers the job it was begun
by (`--rdzv-id`, TORCHELASTIC_RUN_ID), and what any rank knows counts for all.
"""

from __future__ import annotations

import os
from pathlib import Path

from alexnet.errors import InputError
from alexnet.files import read_json, write_json
from alexnet.run import Run
from alexnet.train.mesh import World

JOB = "job.json"
# What torchrun calls a job without --rdzv-id: it tells no job from another.
NAMELESS = "none"


def check_restarts(out: Path | None) -> None:
    """Raise InputError when torchrun would restart ranks that could not tell which run is theirs."""
    if out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise InputError(
            "torchrun was given --max-restarts, but a rank that is started again has no run to go on with; "
            "add --out RUN to alexnet train"
        )


def record_job(run: Run) -> None:
    """Write beside the run which job of torchrun began it; nothing when none with a name did."""
    if job := _job():
        write_json(run.path / JOB, {"torchrun": job})


def goes_on(run: Run, world: World) -> bool:
    """Return whether this start goes on with `run`: it has a checkpoint, and torchrun has started its job again.

    Every rank of the world calls it alike and gets the same answer.
    """
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 or _began(run)
    return world.any(again and run.checkpoint_path.is_file())


def _began(run: Run) -> bool:
    """Return whether the present job began the run."""
    job = _job()
    return bool(job) and (run.path / JOB).is_file() and read_json(run.path / JOB) == {"torchrun": job}


def _job() -> str:
    """Return the name of the present job of torchrun, "" for none."""
    job = os.environ.get("TORCHELASTIC_RUN_ID", NAMELESS)
    return "" if job == NAMELESS else job
