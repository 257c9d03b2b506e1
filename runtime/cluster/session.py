"""One call of `alexnet infer --ray`: cut the pictures into parts, let the workers do them, put the results in place.

Ray Data (`ray.data`: from_items, map_batches over an ActorPoolStrategy) gives the parts to the workers, starts another
worker for one that dies, and does its parts again. Only names and counts pass through Ray.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError, DeviceError, InputError, Interrupted, PictureError
from alexnet.external import EXPORT
from alexnet.files import require_file, sha256_of
from alexnet.progress import counted, report
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.backends.onnx_file import read_onnx
from alexnet.runtime.cluster.connection import Room, connected, room_for
from alexnet.runtime.cluster.options import ClusterOptions
from alexnet.runtime.cluster.parts import Part, cut, digest_of
from alexnet.runtime.cluster.results import Folder, Tally
from alexnet.runtime.cluster.worker import Job, Report, Worker
from alexnet.sidecar import Sidecar

# Ray Data holds a few facts of each block; beyond this number of parts several share one.
BLOCKS = 10_000
FORMAT = 1


def infer_on_ray(engines: list[Path], arguments: list[str], options: ClusterOptions, opened: BackendOptions) -> None:
    """Classify the pictures that `arguments` name by the workers of a Ray cluster, one row a picture, into a folder.

    Raises InputError for what cannot be read or written, MissingPackageError without Ray, DeviceError when there is no
    cluster or its workers keep dying, what the workers raise over the engines, PictureError when no picture could be
    classified, and Interrupted, saying how to go on, on Ctrl-C.
    """
    if opened.threads or opened.gpu:
        raise InputError("--threads and --gpu do not go with --ray; give --cores-per-worker, or leave them out")
    began = time.perf_counter()
    tally = Tally()
    try:
        parts = cut(arguments, sys.stdin.buffer)
        folder = Folder(options.output, options.form)
        if not folder.begin(_described(engines, parts, options, opened), options.resume):
            _say(f"{options.output} is complete already", options)
            return
        try:
            words = _run(engines, parts, options, opened, folder, tally)
            _finish(folder, parts, tally, time.perf_counter() - began)
        finally:
            if not any(folder.file(part.number).is_file() for part in parts):
                folder.drop()
    except KeyboardInterrupt:
        raise Interrupted(f"stopped after {tally.done} pictures; the same command with --resume goes on") from None
    _say(
        f"{tally.done - tally.bad} of {tally.done} pictures classified, {tally.bad} rows with an error, "
        f"{time.perf_counter() - began:.1f} s; {words}",
        options,
    )
    if tally.bad == tally.done:
        raise PictureError(f"none of the {tally.done} pictures could be classified; {options.output} says why")


def _described(
    engines: list[Path], parts: list[Part], options: ClusterOptions, opened: BackendOptions
) -> dict[str, Any]:
    """Return what a run must have in common with one that it goes on with."""
    for engine in engines:
        _check(engine, opened)
    return {
        "format": FORMAT,
        "engines": [{"model": str(engine), "sha256": sha256_of(engine)} for engine in engines],
        "backend": {"name": opened.name, "precision": opened.precision},
        "options": {"form": options.form, "top": options.top, "crops": options.crops, "scaled": options.scaled},
        "pictures": {"parts": len(parts), "sha256": digest_of(parts)},
    }


def _check(engine: Path, opened: BackendOptions) -> None:
    """Raise what is wrong with an engine before a cluster is asked; the workers open it and may find more."""
    require_file(engine, EXPORT)
    if engine.suffix.lower() == ".onnx":
        read_onnx(engine)
    elif not opened.trust:
        Sidecar.load(engine).check_digest(engine)


def _not_done(folder: Folder, parts: list[Part], tally: Tally) -> list[Part]:
    """Return the parts without a file, and count the pictures of the others."""
    left = []
    for part in parts:
        counts = folder.count(part.number)
        if counts is None:
            left.append(part)
        else:
            tally.add(*counts)
    return left


def _run(
    engines: list[Path],
    parts: list[Part],
    options: ClusterOptions,
    opened: BackendOptions,
    folder: Folder,
    tally: Tally,
) -> str:
    """Let the workers do the parts that are not done, count all, and return by what it was done, in words."""
    left = _not_done(folder, parts, tally)
    if tally.done:
        _say(f"{folder.unfinished}: {tally.done:,} pictures are done already", options)
    if not left:
        return "nothing was left to do"
    only_files = all(part.kind == "files" for part in left)
    total = tally.done + sum(len(part.paths) for part in left) if only_files else None
    made = ""
    with connected(options.address) as ray, counted("classifying", options.quiet) as count:
        room = room_for(ray.nodes(), options, opened)
        # Ray gives a worker a GPU of its own, which is then its first.
        job = Job(tuple(engines), replace(opened, threads=room.cores), options, Path.cwd())
        for report in reports(job, left, room):
            if report.fault:
                raise _error(report)
            if report.attempts > 1:
                _say(f"part {report.number} was done again: a worker had died over it", options)
            tally.add(report.done, report.bad)
            made = report.made
            count(tally.done, total)
    return f"{room.words()}, {made}"


def reports(job: Job, parts: list[Part], room: Room) -> Iterator[Report]:
    """Yield the workers' reports as they come."""
    import ray.data
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    blocks = ray.data.from_items(
        [{"part": part.to_json()} for part in parts], override_num_blocks=min(len(parts), BLOCKS)
    )
    done = blocks.map_batches(
        Worker,
        batch_size=1,
        # Two parts are given to a worker at a time, so that it does not wait for the next.
        compute=ray.data.ActorPoolStrategy(size=min(room.workers, len(parts)), max_tasks_in_flight_per_actor=2),
        fn_constructor_args=(job,),
        num_cpus=room.cores,
        num_gpus=1 if room.gpu else 0,
    )
    try:
        for row in done.iter_rows():
            yield Report(**json.loads(row["report"]))
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DeviceError(f"the cluster gave up: {reason}; go on with --resume when it is mended") from error


def _error(report: Report) -> AlexNetError:
    """Return a worker's error as it would be raised here."""
    known: list[type[AlexNetError]] = [AlexNetError, *AlexNetError.__subclasses__()]
    kinds = {kind.exit_code: kind for kind in known}
    return kinds[report.code](report.fault)


def _finish(folder: Folder, parts: list[Part], tally: Tally, seconds: float) -> None:
    """Put the results in place; InputError when there are no pictures, DeviceError when a part is missing."""
    if missing := [part.number for part in parts if not folder.file(part.number).is_file()]:
        raise DeviceError(
            f"{len(missing)} parts, {missing[0]} the first, have no results in {folder.unfinished}; the machines of a "
            "cluster must see one folder there; mend that and go on with --resume"
        )
    if not tally.done:
        folder.drop()
        raise InputError("the shards hold no pictures; give shards that do")
    folder.finish({"pictures": tally.done, "bad": tally.bad, "parts": len(parts), "seconds": round(seconds, 3)})


def _say(text: str, options: ClusterOptions) -> None:
    """Report on standard error."""
    if not options.quiet:
        report(text)
