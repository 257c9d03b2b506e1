from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from alexnet.errors import BuildError, Interrupted
from alexnet.export import build_monitor
from alexnet.export.build_monitor import Bars, Lines, Silent, progress_monitor, stoppable

FAKE: Any = SimpleNamespace(IProgressMonitor=type("IProgressMonitor", (), {}))


def test_ctrl_c_is_heard_while_the_builder_works_and_ends_it_at_its_next_step() -> None:
    stop = threading.Event()
    monitor = progress_monitor(FAKE, Silent(), stop)
    steps = []

    def build() -> str | None:
        monitor.phase_start("Building engine", None, 1000)
        _thread.interrupt_main()
        for step in range(1000):
            steps.append(step)
            time.sleep(0.01)
            if not monitor.step_complete("Building engine", step):
                return None
        return "plan"

    with pytest.raises(Interrupted, match=r"stopped while building m\.onnx; nothing was written") as caught:
        stoppable(build, stop, "m.onnx")
    assert caught.value.exit_code == 130
    assert len(steps) < 1000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_a_build_raises_is_raised_and_what_it_makes_is_returned() -> None:
    def fail() -> None:
        raise BuildError("refused")

    def late() -> None:
        raise TimeoutError("its own")

    assert stoppable(lambda: 7, threading.Event(), "m.onnx") == 7
    with pytest.raises(BuildError, match="refused"):
        stoppable(fail, threading.Event(), "m.onnx")
    with pytest.raises(TimeoutError, match="its own"):
        stoppable(late, threading.Event(), "m.onnx")


def test_lines_name_the_innermost_phase(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(build_monitor, "LINE_SECONDS", 0.0)
    lines = Lines(Console(stderr=True))
    monitor = progress_monitor(FAKE, lines, threading.Event())
    monitor.phase_start("Building engine", None, 6)
    monitor.phase_start("Timing [graph] nodes", "Building engine", 30)
    assert monitor.step_complete("Timing [graph] nodes", 11)
    monitor.phase_finish("Timing [graph] nodes")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Timing [graph] nodes, 12 of 30" in captured.err


def test_a_bar_for_each_phase_under_way() -> None:
    progress = Progress(console=Console(file=None, quiet=True))
    bars = Bars(progress)
    for phase in ("Building engine", "Timing", "Timing"):
        bars.start(phase, 4)
    bars.step("Timing", 3)
    assert [(task.description, task.completed) for task in progress.tasks] == [("Building engine", 0), ("Timing", 3)]
    bars.finish("Timing")
    bars.finish("Timing")
    bars.step("Timing", 4)
    assert [task.description for task in progress.tasks] == ["Building engine"]


STOPPED = """
import os, signal, sys
from alexnet import cli
from alexnet.export import build_monitor

begin = build_monitor.Lines.start
def start(self, phase, steps):
    os.kill(os.getpid(), signal.SIGINT)
    begin(self, phase, steps)
build_monitor.Lines.start = start
cli.main()
"""


def test_a_real_build_stopped_by_a_signal_leaves_nothing_and_exit_code_130(
    tmp_path: Path, tiny_source: Any, pictures: Any
) -> None:
    pytest.importorskip("tensorrt_rtx")
    from alexnet.export.onnx_from_run import export_onnx

    export_onnx([tiny_source], pictures, [str(place) for place in range(9)], tmp_path / "model.onnx")
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = ["build", str(tmp_path / "model.onnx"), "--target", "rtx", "--compute", "sm89"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
    )
    assert done.returncode == 130, done.stderr
    assert "stopped while building" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
