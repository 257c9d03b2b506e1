from __future__ import annotations

import sys

import pytest

from alexnet import progress
from alexnet.progress import counted


def test_a_bar_on_standard_error_leaves_standard_output_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    before = sys.stdout
    with counted("working") as count:
        count(1, 2)
        assert sys.stdout is before
        print("a result")
    seen = capsys.readouterr()
    assert seen.out == "a result\n"
    assert "working" in seen.err


def test_without_a_terminal_a_line_comes_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 5.0, 10.0, 15.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with counted("working") as count:
        for done in (1, 25, 30, 50):
            count(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "working: 25 of 100, 30 s left",
        "working: 50 of 100, 30 s left",
    ]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with counted("working", quiet=True) as count:
        count(1, 2)
    assert capsys.readouterr().err == ""


def test_without_a_total_the_pace_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 5.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with counted("working") as count:
        count(10, None)
        count(5000, None)
    assert capsys.readouterr().err.splitlines() == ["working: 5,000, 250.0 a second"]
