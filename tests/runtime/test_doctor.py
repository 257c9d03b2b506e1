from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.runtime import doctor

Cli = Callable[..., Result]


def test_the_report_names_every_extra_and_backend(run_cli: Cli) -> None:
    subjects = {entry["subject"] for entry in json.loads(run_cli("doctor", "--json").stdout)}
    assert {"Python", "GPU", "extra train", "extra cpu", "extra gpu", "extra rtx", "extra openvino"} <= subjects
    assert {"backend onnxruntime-cpu", "backend tensorrt"} <= subjects
    assert "extra cpu" in run_cli("doctor").stdout


def test_the_extras_are_those_of_the_project() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    named = {
        extra: {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        for extra, requirements in extras.items()
        if extra != "dev"
    }
    assert {extra: set(packages) for extra, (packages, _) in doctor.EXTRAS.items()} == named


def test_two_onnxruntimes_are_a_conflict_with_the_mending_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "1.0")
    (conflict,) = [finding for finding in doctor.examine() if finding.subject == "conflict"]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in conflict.advice


def test_what_is_missing_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: None)
    advice = {finding.subject: finding.advice for finding in doctor.examine()}
    assert "alexnet-toolchain[train]" in advice["extra train"]
    assert "--target rtx" in advice["tensorrt"]
