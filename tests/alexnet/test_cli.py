from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alexnet.cli import COMMANDS
from alexnet.errors import EXIT_CODES

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy", "PIL")


def alexnet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "alexnet", *arguments], capture_output=True, text=True, cwd=ROOT)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['alexnet', '--help']\n"
        "from alexnet.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert out.stdout.endswith("[]\n"), out


@pytest.mark.parametrize("command", [*COMMANDS, "data make"])
def test_every_command_has_help_with_examples_and_no_framework(command: str) -> None:
    out = alexnet(*command.split(), "--help")
    assert out.returncode == 0, out.stderr
    if command != "data":
        assert "Examples:" in out.stdout
        assert f"alexnet {command}" in out.stdout


def test_a_mistyped_command_names_the_nearest() -> None:
    out = alexnet("describ")
    assert out.returncode == 2
    assert "Did you mean 'describe'?" in out.stderr


def test_an_error_is_one_line_and_debug_adds_the_traceback() -> None:
    out = alexnet("describe", "--recipe", "absent")
    assert out.returncode == 9
    assert out.stderr.startswith("Error: there is no recipe 'absent'")
    assert out.stderr.count("\n") == 1
    debugged = alexnet("--debug", "describe", "--recipe", "absent")
    assert debugged.returncode == 9
    assert "Traceback" in debugged.stderr


def test_the_documented_exit_codes_are_those_of_the_errors() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [
        line.split("|") for line in text.splitlines() if line.startswith("| ") and line.split("|")[1].strip().isdigit()
    ]
    documented = {int(row[1]): row[3].strip() for row in rows}
    assert documented == EXIT_CODES
