"""Every LRN lowering and stem of a run, built and timed, and the fastest that is the trained model kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from alexnet.errors import AlexNetError, BuildError, InputError, Interrupted, missing_package
from alexnet.export.build_options import BuildOptions
from alexnet.export.engine import engine_from_onnx
from alexnet.export.onnx_files import publish, staging
from alexnet.export.options import ExportOptions, Lowering, Precision
from alexnet.export.tensorrt_module import Target
from alexnet.gpu import find_gpus
from alexnet.parity import ParityPack, parity_pack_beside
from alexnet.run import Run
from alexnet.runtime.backends import BackendOptions, open_backend
from alexnet.runtime.verify import verify_plan
from alexnet.sidecar import Sidecar, sidecar_beside
from alexnet.stem import Stem

Say = Callable[[str], None]
# Batches before the clock starts, and those whose median counts.
WARM_UP, TIMED = 5, 30


@dataclass(frozen=True)
class Candidate:
    """One form of the run: its files, or why there are none; `seconds` is the median of a batch, None if not timed."""

    lrn: Lowering
    stem: Stem
    folder: Path
    nodes: int = 0
    build_seconds: float = 0.0
    sidecar: Sidecar | None = None
    seconds: float | None = None
    refused: str = ""

    @property
    def sound(self) -> bool:
        """Whether it was built, and verified wherever it could be."""
        return self.sidecar is not None


def build_all_lowerings(
    path: Path, output: Path | None, target: Target, options: BuildOptions, say: Say, quiet: bool = False
) -> Candidate:
    """Export and build every form of a run, print their table, and put the best one in place of `output`.

    The best is the fastest that passes parity; where nothing can be timed it is the default form (LRN as a
    convolution, plain stem), or the first that was built. Raises InputError when `path` is no run, BuildError when no
    form could be built.
    """
    if not path.is_dir():
        raise InputError(
            f"--all-lowerings exports from a run, and {path} is none; give one such as runs/quickstart-001"
        )
    plan, options = output or Path("model.plan"), replace(options, verify=True)
    with staging(plan) as folder:
        candidates = [
            _candidate(path, folder / f"{lrn}-{stem}", plan.name, lrn, stem, target, options, say, quiet)
            for stem in reversed(get_args(Stem))
            for lrn in get_args(Lowering)
        ]
        say(table(candidates))
        best = chosen(candidates)
        say(reason(best, candidates))
        publish(_files(best, plan), plan.parent)
    assert best.sidecar is not None
    say(
        f"{plan}: LRN {best.lrn}, {best.stem} stem, of {best.sidecar.onnx_name} beside it; "
        f"verified: {'yes' if best.sidecar.verified else 'no'}: {best.sidecar.verified_reason}"
    )
    return best


def _candidate(
    path: Path,
    folder: Path,
    name: str,
    lrn: Lowering,
    stem: Stem,
    target: Target,
    options: BuildOptions,
    say: Say,
    quiet: bool,
) -> Candidate:
    """Return one form, exported, built and timed, or what refused it."""
    found = Candidate(lrn, stem, folder)
    plan = folder / name
    try:
        found = replace(found, nodes=_export(path, plan.with_suffix(".onnx"), lrn, stem, options))
        began = time.perf_counter()
        sidecar = engine_from_onnx(plan.with_suffix(".onnx"), plan, target, options, verify_plan, say, quiet)
        found = replace(found, sidecar=sidecar, build_seconds=time.perf_counter() - began)
        return replace(found, seconds=_batch_seconds(plan, sidecar))
    except Interrupted:
        raise
    except AlexNetError as error:
        return replace(found, sidecar=None, refused=" ".join(error.message.split()))


def _export(path: Path, model: Path, lrn: Lowering, stem: Stem, options: BuildOptions) -> int:
    """Export one form of the run and return the number of its nodes."""
    try:
        from alexnet.export.onnx_from_run import export_onnx
        from alexnet.export.source import pictures_for_proof, source_from_run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "train", "alexnet build --all-lowerings") from None
    precision = options.precision or "fp32"
    if precision not in get_args(Precision):
        raise BuildError(f"--all-lowerings exports in {', '.join(get_args(Precision))}, not in {precision}")
    pictures, names = pictures_for_proof(Run(path), None)
    asked = ExportOptions(lrn=lrn, stem=stem, precision=precision)  # type: ignore[arg-type]
    return export_onnx([source_from_run(Run(path))], pictures, names, model, asked).nodes


def _batch_seconds(plan: Path, sidecar: Sidecar) -> float | None:
    """Return the median seconds of the batch that a plan is tuned for, None where it cannot run."""
    search = find_gpus()
    if not search.gpus or not sidecar.runs_on(search.gpus[0].capability):
        return None
    pictures = ParityPack.load(parity_pack_beside(plan)).pictures
    batch = np.ascontiguousarray(np.resize(pictures, (sidecar.profile.best, *pictures.shape[1:])))
    backend = open_backend(plan, BackendOptions(like=plan.with_name(sidecar.onnx_name)))
    try:
        seconds = []
        for _ in range(WARM_UP + TIMED):
            began = time.perf_counter()
            backend.probabilities(batch)
            seconds.append(time.perf_counter() - began)
    finally:
        backend.close()
    return statistics.median(seconds[WARM_UP:])


def chosen(candidates: list[Candidate]) -> Candidate:
    """Return the fastest candidate, the first built where none was timed; BuildError when none was built."""
    built = [candidate for candidate in candidates if candidate.sound]
    if not built:
        raise BuildError(f"no form of the run could be built: {'; '.join(c.refused for c in candidates)}")
    timed = [candidate for candidate in built if candidate.seconds is not None]
    return min(timed, key=lambda candidate: candidate.seconds or 0.0) if timed else built[0]


def reason(best: Candidate, candidates: list[Candidate]) -> str:
    """Return in words why a candidate was kept."""
    form = f"LRN {best.lrn}, {best.stem} stem"
    if best.seconds is None:
        why = find_gpus().reason if not find_gpus().gpus else "the plans do not run on the GPU that is here"
        return f"nothing was timed: {why}; kept the default form, {form}"
    return f"kept the fastest of {sum(c.seconds is not None for c in candidates)}: {form}"


def table(candidates: list[Candidate]) -> str:
    """Return the candidates as aligned text."""
    rows = [("lrn", "stem", "nodes", "MB", "build s", "pictures/s", "largest difference")]
    for found in candidates:
        if found.sidecar is None:
            rows.append((found.lrn, found.stem, str(found.nodes or "-"), f"refused: {found.refused}"))  # type: ignore[arg-type]
            continue
        speed = "not timed" if found.seconds is None else f"{found.sidecar.profile.best / found.seconds:,.0f}"
        largest = found.sidecar.parity.get("largest")
        rows.append(
            (
                found.lrn,
                found.stem,
                str(found.nodes),
                f"{found.sidecar.plan_bytes / 1e6:.1f}",
                f"{found.build_seconds:.1f}",
                speed,
                "not run" if largest is None else f"{largest:.2g}",
            )
        )
    widths = [max(len(row[place]) for row in rows if len(row) == 7) for place in range(7)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )


def _files(best: Candidate, plan: Path) -> list[Path]:
    """Return the files of a candidate in the order in which they take their places: what refers comes last."""
    made = best.folder / plan.name
    first = [file for file in best.folder.iterdir() if file not in (made, sidecar_beside(made))]
    return [*sorted(first), made, sidecar_beside(made)]
