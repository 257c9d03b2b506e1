"""Restarts under torchrun: what decides that a rank goes on, and two agents of which one is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from click.testing import Result

from alexnet.errors import InputError
from alexnet.recipe import Recipe
from alexnet.run import Run
from alexnet.train.checkpoint import load_checkpoint, load_state
from alexnet.train.elastic import goes_on, record_job
from alexnet.train.mesh import World
from tests.train.test_mesh import RECIPE


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has a checkpoint, as far as its files' names say."""
    run = Run(tmp_path / "run")
    run.begin(Recipe(), ("a",))
    run.checkpoint_path.write_text("{}")
    return run


def started(monkeypatch: pytest.MonkeyPatch, job: str = "none", restarts: int = 0) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))


def test_a_restarted_rank_goes_on_once_there_is_a_checkpoint(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    assert not goes_on(run, World())
    started(monkeypatch, restarts=1)
    assert goes_on(run, World())
    run.checkpoint_path.unlink()
    assert not goes_on(run, World())


def test_a_job_goes_on_with_the_run_that_it_began_and_no_other_does(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    started(monkeypatch, "alpha")
    assert not goes_on(run, World())
    record_job(run)
    assert goes_on(run, World())
    started(monkeypatch, "beta")
    assert not goes_on(run, World())


def test_a_job_without_a_name_is_not_remembered(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    started(monkeypatch)
    record_job(run)
    assert not goes_on(run, World())


def test_a_run_that_exists_is_refused_when_nothing_was_restarted(
    run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, run: Run, tiny_data: Path
) -> None:
    started(monkeypatch, "beta")
    found = run_cli("train", "--out", run.path, "--data", tiny_data)
    assert found.exit_code == InputError.exit_code
    assert "already holds a run" in found.output


def test_restarts_without_a_run_to_go_on_with_are_refused_at_the_start(
    run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tiny_data: Path
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    found = run_cli("train", "--data", tiny_data)
    assert found.exit_code == InputError.exit_code
    assert "add --out RUN" in found.output


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def workers(agent: int) -> list[int]:
    """Return the processes that an agent of torchrun has started."""
    lists = Path(f"/proc/{agent}/task").glob("*/children")
    return [int(number) for found in lists for number in found.read_text().split()]


def end(agent: int) -> None:
    """Kill an agent and its workers, as a machine that is switched off."""
    for process in (*workers(agent), agent):
        os.kill(process, signal.SIGKILL)


def agent_command(port: int, arguments: list[str], nodes: str = "2", *more: str) -> list[str]:
    elastic = ["--nnodes", nodes, "--nproc-per-node", "1", "--max-restarts", "5", "--rdzv-id", "tiny"]
    elastic += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", *more]
    train = ["-m", "alexnet", "train", "--threads", "1", *arguments]
    return [sys.executable, "-m", "torch.distributed.run", *elastic, *train]


# As docs/scaling.md says: an agent that joins later finds the others' meeting point only with it.
SETTINGS = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@contextmanager
def agent(command: list[str], out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start one agent of torchrun that writes to `out`; at the end of the block nothing of it is left."""
    with out.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **SETTINGS})
        try:
            yield process
        finally:
            if process.poll() is None:
                end(process.pid)
            process.wait()


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 150) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)


def epochs_done(run: Run) -> int:
    return load_state(run).epoch if run.checkpoint_path.is_file() else 0


def logged_epochs(run: Run, data_ranks: tuple[int, ...] = (1, 2)) -> list[int]:
    """Return the epochs in the run's log that ended on so many data ranks; a line that is being written is left out."""
    text = run.metrics_path.read_text() if run.metrics_path.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line["epoch"] for line in lines if line["data_ranks"] in data_ranks]


def arguments(tmp_path: Path, data: Path, name: str, epochs: int, *more: str) -> list[str]:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.format(epochs=epochs))
    return ["--recipe", str(recipe), "--data", str(data), "--out", str(tmp_path / name), *more]


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_the_run_ends_as_if_nothing_had_happened(
    tmp_path: Path, tiny_data: Path
) -> None:
    def train(name: str, kill: bool) -> Run:
        run, port, outs = Run(tmp_path / name), free_port(), [tmp_path / f"{name}{node}.txt" for node in (0, 1)]
        command = agent_command(port, arguments(tmp_path, tiny_data, name, 60, "--columns", "split"))
        with ExitStack() as stack:
            agents = [stack.enter_context(agent(command, out)) for out in outs]
            if kill:
                wait_until(lambda: epochs_done(run) >= 5, f"epoch 5: see {outs}")
                (victim,) = workers(agents[1].pid)
                os.kill(victim, signal.SIGKILL)
            codes = [process.wait(timeout=200) for process in agents]
        said = "".join(out.read_text() for out in outs)
        assert codes == [0, 0], said
        assert ("going on at epoch" in said) == kill, said
        return run

    whole, killed = train("whole", kill=False), train("killed", kill=True)
    one, other = load_checkpoint(whole), load_checkpoint(killed)
    assert other.state.finished
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())
    assert logged_epochs(killed) == list(range(1, 61))


@pytest.mark.slow
@pytest.mark.parametrize("first", ["the host", "the other"])
def test_a_machine_that_goes_leaves_the_other_alone_and_is_joined_again(
    tmp_path: Path, tiny_data: Path, first: str
) -> None:
    # torchrun gives the ranks by address: the machine that goes is once the first one, which writes, once the second.
    addresses = ("127.0.0.1", "localhost") if first == "the host" else ("localhost", "127.0.0.1")
    run, port, epochs = Run(tmp_path / "run"), free_port(), 300
    given = arguments(tmp_path, tiny_data, "run", epochs)

    def command(node: int) -> list[str]:
        # Short waits, and no race for the meeting point between agents on one machine.
        settings = f"is_host={int(node == 0)},last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=8"
        return agent_command(port, given, "1:2", "--rdzv-conf", settings, "--local-addr", addresses[node])

    def ended(data_ranks: int, after: int) -> list[int]:
        return [epoch for epoch in logged_epochs(run, (data_ranks,)) if epoch > after]

    outs = [tmp_path / f"{name}.txt" for name in ("host", "other", "again")]
    with ExitStack() as stack:
        host = stack.enter_context(agent(command(0), outs[0]))
        other = stack.enter_context(agent(command(1), outs[1]))
        wait_until(lambda: len(ended(2, 0)) >= 5, f"five epochs together: see {outs}")
        end(other.pid)
        gone = logged_epochs(run)[-1]
        wait_until(lambda: len(ended(1, gone)) >= 5, f"five epochs alone: see {outs}")
        again = stack.enter_context(agent(command(1), outs[2]))
        codes = [process.wait(timeout=300) for process in (host, again)]
    said = "".join(out.read_text() for out in outs)
    assert codes == [0, 0], said
    assert load_checkpoint(run).state.finished
    assert logged_epochs(run) == list(range(1, epochs + 1))
    alone = [epoch for epoch in logged_epochs(run, (1,)) if epoch > gone]
    # One stretch alone, a stretch together after it to the end: whoever joined trained along.
    assert alone == list(range(alone[0], alone[-1] + 1))
    assert alone[-1] < epochs, "the run ended before the machine was back"
    assert "mesh of 2 data x 1 column ranks\ngoing on at epoch" in said
