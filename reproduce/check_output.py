"""The findings of `alexnet check` as a person or a program reads them; a fault ends the command after they are out."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from alexnet.layers import LayerComparison
from alexnet.reproduce.check import Pairing
from alexnet.reproduce.subjects import Subject
from alexnet.runtime.check import Check, views


def print_check(check: Check, as_json: bool) -> None:
    """Print what a check against the parity pack found; ParityError when the model is not the trained one."""
    fault = check.fault()
    if as_json:
        values = {
            **check.comparison.to_values(),
            "tolerance": check.tolerance,
            "backend": check.backend.name,
            "device": check.backend.device,
            "arithmetic": check.backend.precision,
        }
        _print_json(values, check.layers, (check.note,) if check.note else (), fault is None)
    else:
        click.echo(
            f"{check.path} by {check.backend.name} on {check.backend.device}, {check.backend.precision}, "
            f"against {check.pack}"
        )
        click.echo(check.comparison.table(check.tolerance))
        _print_layers(check.layers, (check.note,) if check.note else ())
    if fault:
        raise fault
    if not as_json:
        click.echo("ok: it is the model that was trained")


def print_pairing(pairing: Pairing, as_json: bool) -> None:
    """Print what a comparison of two found; ParityError when they differ."""
    fault = pairing.fault()
    if as_json:
        values = {
            **pairing.comparison.to_values(),
            "tolerance": pairing.tolerance,
            "a": _subject_values(pairing.a),
            "b": _subject_values(pairing.b),
            "crops": pairing.crops,
            "source": pairing.pictures,
        }
        _print_json(values, pairing.layers, pairing.notes, fault is None)
    else:
        for letter, subject in (("A", pairing.a), ("B", pairing.b)):
            click.echo(f"{letter}: {subject.path} by {subject.what}")
        click.echo(f"pictures of {pairing.pictures}, {views(pairing.crops)} each")
        click.echo(pairing.comparison.table(pairing.tolerance))
        _print_layers(pairing.layers, pairing.notes)
    if fault:
        raise fault
    if not as_json:
        click.echo("ok: the two answer alike")


def _print_layers(layers: LayerComparison | None, notes: tuple[str, ...]) -> None:
    """Print the table of layers, if there is one, and the notes."""
    if layers is not None:
        click.echo(layers.table())
    for note in notes:
        click.echo(f"note: {note}")


def _print_json(values: dict[str, Any], layers: LayerComparison | None, notes: tuple[str, ...], ok: bool) -> None:
    """Print one JSON document; what is infinite, or no number, is null."""
    document = {**values, "ok": ok, "layers": None if layers is None else layers.to_values(), "notes": list(notes)}
    click.echo(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """Return a JSON value with None in place of every float that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _subject_values(subject: Subject) -> dict[str, str]:
    """Return what answered, as plain JSON values."""
    return {
        "path": str(subject.path),
        "by": subject.what,
        "precision": subject.precision,
        "checkpoint_sha256": subject.checkpoint_sha256,
    }
