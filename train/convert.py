"""A run's checkpoint from one file of the merged network to one a column, and back, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

from alexnet.errors import InputError
from alexnet.run import Run
from alexnet.train.checkpoint import (
    TrainingState,
    column_file,
    commit_columns,
    load_checkpoint,
    save_checkpoint,
    write_tensors,
)
from alexnet.train.columns import split_state
from alexnet.train.session import DATA


def convert_run(source: Run, out: Path, split: bool) -> TrainingState:
    """Write a copy of `source` to the new folder `out` with its checkpoint split by columns, or merged.

    Weights and velocities keep every bit. Raises InputError when `out` exists or the source is not whole.
    """
    if out.exists():
        raise InputError(f"{out} exists already; give the name of a new run directory")
    columns = source.recipe().network.columns
    checkpoint = load_checkpoint(source)
    run = Run(out)
    run.begin(source.recipe(), source.labels())
    for path in (source.statistics_path, source.samples_path, source.metrics_path, source.path / DATA):
        if path.is_file():
            shutil.copyfile(path, out / path.name)
    if not split or columns == 1:
        return save_checkpoint(run, checkpoint)
    for column, part in enumerate(split_state(checkpoint.tensors, columns)):
        write_tensors(out / column_file(checkpoint.state, column, columns), part)
    return commit_columns(run, checkpoint.state, columns)
