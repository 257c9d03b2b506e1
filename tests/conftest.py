"""What the tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Two workers share two cores: more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from click.testing import CliRunner, Result

from alexnet import ops
from alexnet.cli import alexnet
from tests.chromium import NAMES, browser, executable


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard by the tests' process and its children, also where the shell that began them ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def photos() -> Path:
    """The folder of real photographs; the test is skipped, saying so, where there is none."""
    folder = os.environ.get("ALEXNET_PHOTOS")
    if not folder:
        pytest.skip("ALEXNET_PHOTOS is not set: give a folder of photographs to prove parity on real pictures")
    return Path(folder)


@pytest.fixture(scope="session")
def built_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of alexnet.ResponseNorm, built for the tests; they are skipped, saying so, without a compiler."""
    if not (shutil.which("make") and shutil.which("g++")):
        pytest.skip("make or g++ is not installed: the library of alexnet.ResponseNorm cannot be built")
    path = tmp_path_factory.mktemp("ops") / "alexnet_ops.so"
    root = Path(__file__).parents[1]
    built = subprocess.run(["make", "ops", f"OPS={path}"], cwd=root, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture
def library(built_library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The built library in the place of the package's own."""
    monkeypatch.setattr(ops, "LIBRARY", built_library)
    return built_library


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; without one the test fails, since only `make test-browser` asks for it."""
    if executable() is None:
        pytest.fail(f"no browser is installed ({', '.join(NAMES)}); install one with: make test-browser", pytrace=False)
    with browser() as opened:
        yield opened


@pytest.fixture
def run_cli() -> Callable[..., Result]:
    """Run one command line in this process and return what click saw of it."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(alexnet, [str(argument) for argument in arguments])

    return run
