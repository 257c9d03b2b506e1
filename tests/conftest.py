"""What the tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Two workers share two cores: more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from click.testing import CliRunner, Result

from alexnet.cli import alexnet


@pytest.fixture
def photos() -> Path:
    """The folder of real photographs; the test is skipped, saying so, where there is none."""
    folder = os.environ.get("ALEXNET_PHOTOS")
    if not folder:
        pytest.skip("ALEXNET_PHOTOS is not set: give a folder of photographs to prove parity on real pictures")
    return Path(folder)


@pytest.fixture
def run_cli() -> Callable[..., Result]:
    """Run one command line in this process and return what click saw of it."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(alexnet, [str(argument) for argument in arguments])

    return run
