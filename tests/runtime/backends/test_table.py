"""The table is what the documentation, the doctor and the command line say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.gpu import Gpu, GpuSearch
from alexnet.runtime.backends import table
from alexnet.runtime.backends.table import BACKENDS, NAMES, advice, backend_rows, find_backend, missing

Cli = Callable[..., Result]
ROOT = Path(__file__).parents[3]


def test_the_documentation_holds_the_table() -> None:
    text = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    rows = [
        tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in re.findall(r"^\| `.*", text, re.M)
    ]
    assert rows == backend_rows()


def test_each_extra_brings_what_its_backends_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for info in BACKENDS:
        named = {re.match(r"[\w-]+", requirement)[0] for requirement in extras[info.extra]}  # type: ignore[index]
        assert set(info.packages) <= named, info.name


def test_the_doctor_says_of_each_whether_it_is_usable(run_cli: Cli) -> None:
    found = {entry["subject"]: entry for entry in json.loads(run_cli("doctor", "--json").stdout)}
    for info in BACKENDS:
        entry = found[f"backend {info.name}"]
        assert entry["found"].endswith(": usable") == (missing(info) == "")
        assert bool(entry["advice"]) == bool(missing(info))


def test_the_command_line_offers_the_table(run_cli: Cli) -> None:
    text = "".join(run_cli("infer", "--help").stdout.split())
    assert all(name in text for name in NAMES)


def test_what_is_missing_is_said_in_the_order_of_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, trt = find_backend("onnxruntime-cuda"), find_backend("tensorrt")
    monkeypatch.setattr(table, "importable", lambda module: module != "tensorrt")
    assert missing(trt) == "tensorrt not installed"
    assert advice(trt) == "pip install 'alexnet-toolchain[gpu]'"
    monkeypatch.setattr(table, "importable", lambda module: True)
    monkeypatch.setattr(table, "find_gpus", lambda: GpuSearch((), "no driver here"))
    assert missing(trt) == "no driver here"
    assert "needs a machine with an NVIDIA GPU" in advice(trt)
    monkeypatch.setattr(table, "find_gpus", lambda: GpuSearch((Gpu("a", "9.0", "13.0"),), "one"))
    assert missing(trt) == ""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert missing(cuda).endswith("has no CUDAExecutionProvider")
    assert advice(cuda) == "pip uninstall -y onnxruntime && pip install 'alexnet-toolchain[gpu]'"
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert missing(cuda) == ""
