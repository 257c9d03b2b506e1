"""The commands of the README and of docs/, run as a newcomer would, in a copy of the tree, on smaller sets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """Return the lines of a page's shell blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tracked files, with the environment that runs this test as its .venv."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def run(line: str, tree: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PICTURES": "40",
        "HELD_OUT": "20",
        "TRAIN": "--set schedule.epochs=1",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        # The package that runs is that of the checkout, what `make ops` builds is in the copy.
        "ALEXNET_OPS": str(tree / "alexnet" / "ops" / "alexnet_ops.so"),
    }
    script = f". .venv/bin/activate; {line}"
    return subprocess.run(["bash", "-ec", script], cwd=tree, env=environment, capture_output=True, text=True)


def test_the_lines_of_the_readme_run_in_their_order(tree: Path) -> None:
    lines = commands(README)
    assert lines[:3] == ["make train", ". .venv/bin/activate", "alexnet export --onnx"]
    if __import__("importlib.util").util.find_spec("tensorrt_rtx") is None:
        lines.remove("alexnet build model.onnx")  # tensorrt-rtx exists for x86-64 only
    output = {}
    for line in lines:
        done = run(line, tree)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        output[line] = done.stdout
    assert "next: alexnet export --onnx" in output["make train"]
    assert "largest difference" in output["alexnet export --onnx"]
    assert len(output["alexnet infer --engine model.onnx images/"].splitlines()) == 100
    assert "ok: it is the model that was trained" in output["alexnet check model.onnx"]
    assert "60,965,224" in output["alexnet describe"]
    assert len(list((tree / "data" / "quickstart" / "train").rglob("*.jpg"))) == 40


PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if commands(text)])
def test_the_lines_of_a_page_run_in_their_order(tree: Path, page: str) -> None:
    for line in commands(PAGES[page]):
        done = run(line, tree)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_every_make_target_that_the_readme_names_exists() -> None:
    for target in set(re.findall(r"`make ([a-z-]+)`", README)) | {"train"}:
        planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert planned.returncode == 0, planned.stderr


def test_the_table_of_commands_is_complete() -> None:
    from alexnet.cli import COMMANDS

    table = re.findall(r"^\| `alexnet ([a-z]+)", README, flags=re.MULTILINE)
    assert list(dict.fromkeys(table)) == list(COMMANDS)


def test_the_table_of_extras_is_complete() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", README, flags=re.MULTILINE))
    assert set(table) == set(project["optional-dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        brought = {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}  # type: ignore[index]
        assert extra == "dev" or set(table[extra].split(", ")) == brought


def test_make_help_lists_what_the_readme_names() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("train", "test", "lint", "test-gpu", "benchmark"):
        assert f"make {target} " in listed
