"""The parity pack run through a plan: before it is put in place, or before its first picture on another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from alexnet.errors import AlexNetError, InputError, ParityError
from alexnet.gpu import find_gpus
from alexnet.parity import parity_pack_beside
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.check import Check, examine_model
from alexnet.sidecar import Sidecar, Verification, sidecar_beside


def verify_plan(plan: Path, pack: Path, model: Path, options: BackendOptions | None = None) -> Verification:
    """Run a parity pack through a plan and return the figures; ParityError when a probability is past the tolerance.

    `model` is the ONNX file that the plan was built of, from which a plan without weights takes them.
    """
    options = replace(options or BackendOptions(), name=None, precision=None, features=False, like=model)
    check = examine_model(plan, pack, options=options)
    try:
        if fault := check.fault():
            raise ParityError(
                f"the plan is refused: built of {model}, it {_difference(check)}; see whether the model itself holds "
                f"with: alexnet check {model}"
            ) from fault
        return _verification(check)
    finally:
        check.backend.close()


def record_check(check: Check, say: Callable[[str], None]) -> None:
    """Write what `alexnet check` found of a plan into its sidecar, whether it is the trained model or not.

    A plan that failed is run through its pack again, and refused, at its next use. Models in another form and plans
    without a sidecar are left alone; `say` is told when the sidecar cannot be written.
    """
    if _is_plan(check.path):
        _keep(Sidecar.load(check.path), _verification(check), check.path, say)


def _is_plan(path: Path) -> bool:
    """Return whether a file is a plan with a sidecar."""
    return path.suffix.lower() in (".plan", ".engine") and sidecar_beside(path).is_file()


def _verification(check: Check) -> Verification:
    """Return what a check says of the plan it was made of."""
    reason = f"{_difference(check)}, on {check.backend.device}"
    return Verification(check.comparison.largest <= check.tolerance, reason, check.comparison.to_values())


def _keep(sidecar: Sidecar, verification: Verification, path: Path, say: Callable[[str], None]) -> None:
    """Save a sidecar with what became of the parity pack; a warning where that cannot be."""
    try:
        sidecar.proven(verification).save(sidecar_beside(path))
    except (AlexNetError, OSError) as error:
        reason = error.message if isinstance(error, InputError) else error
        say(f"warning: the result is not kept, so the next use verifies again: {reason}")


def _difference(check: Check) -> str:
    """Return in words how far a plan is from the training model."""
    found = check.comparison
    return (
        f"differs from the training model by {found.largest:.2g} in {found.pictures} pictures "
        f"(tolerance {check.tolerance:g}), {found.top1:.1%} of which keep their best class"
    )


def verify_on_first_use(path: Path, options: BackendOptions, say: Callable[[str], None]) -> None:
    """Run the parity pack through a plan that has not been verified yet, and record the result in its sidecar.

    A model in another form, a plan without a sidecar and one that is verified are left alone; `say` is told where
    there is no pack, or the sidecar cannot be written. Raises ParityError when the plan is not the trained model.
    """
    if not _is_plan(path):
        return
    sidecar = Sidecar.load(path)
    if sidecar.verified:
        return
    model = path.with_name(sidecar.onnx_name)
    packs = [pack for pack in (parity_pack_beside(path), parity_pack_beside(model)) if pack.is_file()]
    if not packs:
        # Without a GPU the plan is refused in a moment, and why is all there is to say.
        if find_gpus().gpus:
            say(
                f"warning: {path} has not been verified, and its parity pack {parity_pack_beside(path).name} is not "
                "beside it; copy it there from where the plan was built"
            )
        return
    verification = verify_plan(path, packs[0], model, options)
    say(f"{path}: verified on first use: {verification.reason}")
    _keep(sidecar, verification, path, say)
