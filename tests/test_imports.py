"""Every folder that holds modules is a package of the wheel: an editable install would hide a forgotten one."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_lists_every_package() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"alexnet": "alexnet", **{name.split(".")[-1]: name for name in tool["package-dir"]}}
    found = {
        ".".join([folders[path.parent.relative_to(ROOT).parts[0]], *path.parent.relative_to(ROOT).parts[1:]])
        for top in folders
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(tool["packages"])
