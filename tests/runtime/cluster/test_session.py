"""`alexnet infer --ray` with one worker in this process in place of a cluster: rows, refusals, going on.

The cluster itself is in test_cluster.py, which takes longer.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from alexnet.errors import DeviceError, InputError, MissingPackageError
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.cluster import session
from alexnet.runtime.cluster.connection import Room, connected, room_for
from alexnet.runtime.cluster.options import ClusterOptions, addressed
from alexnet.runtime.cluster.parts import Part
from alexnet.runtime.cluster.worker import ATTEMPTS, Job, Report, Worker
from tests.runtime.cluster.conftest import plain, rows_of, write_tar
from tests.runtime.conftest import LABELS, colour_model

Cli = Callable[..., Result]


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker in this process."""
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}]
    cluster = SimpleNamespace(nodes=lambda: nodes)
    monkeypatch.setattr(session, "connected", lambda address: contextlib.nullcontext(cluster))

    def reports(job: Job, parts: list[Part], room: Room) -> Iterator[Report]:
        worker = Worker(job)
        for part in parts:
            yield Report(**json.loads(worker({"part": [part.to_json()]})["report"][0]))

    monkeypatch.setattr(session, "reports", reports)


@pytest.mark.parametrize("form", [(), ("--jsonl",)])
def test_one_row_a_picture_as_the_plain_path_gives_it(
    one_worker: None, model: Path, sources: Path, tmp_path: Path, run_cli: Cli, form: tuple[str, ...]
) -> None:
    out = tmp_path / "results"
    result = run_cli("infer", "--engine", model, "--ray", sources, "-o", out, "--top", "2", *form)
    assert result.exit_code == 0, result.output
    assert "15 of 21 pictures classified, 6 rows with an error" in result.stderr
    lines = run_cli("infer", "--engine", model, sources / "files", "--jsonl", "--top", "2", "--quiet").stdout
    files = [plain(json.loads(line)) for line in lines.splitlines()]
    rows = rows_of(out)
    assert [row for row in rows if "/files/" in row["path"]] == files
    for shard, count in (("shard.tar", 7), ("rows.parquet", 7)):
        found = [row for row in rows if f"{shard}" in row["path"]]
        assert len({row["path"] for row in found}) == len(found) == count
        assert [row["classes"] for row in found if "classes" in row] == [row["classes"] for row in files[:5]]
        assert "is not a picture" in next(row["error"] for row in found if row["path"].endswith("/5.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["model.onnx", "model.parity.safetensors", "results", "sources"]
    )
    assert json.loads((out / "summary.json").read_text())["pictures"] == 21
    assert not list(out.glob(".*"))
    if not form:
        made = json.loads(pq.read_schema(out / "part-000000.parquet").metadata[b"alexnet"])
        assert made["backend"] == "onnxruntime-cpu"


def test_a_run_that_was_stopped_goes_on_and_nothing_is_done_twice(
    one_worker: None, model: Path, sources: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "results"
    call = ("infer", "--engine", model, "--ray", sources, "-o")
    run_cli(*call, whole)
    every = session.reports

    def stopped(job: Job, parts: list[Part], room: Room) -> Iterator[Report]:
        yield from every(job, parts[:2], room)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "reports", stopped)
    result = run_cli(*call, out)
    assert (result.exit_code, "--resume goes on" in result.stderr) == (130, True)
    assert not out.exists()
    assert len(list((tmp_path / "results.part").glob("part-*"))) == 2
    assert "is left of a run that did not end" in run_cli(*call, out).stderr
    other = colour_model(tmp_path / "other.onnx", gain=0.01)
    result = run_cli("infer", "--engine", other, "--ray", sources, "-o", out, "--resume")
    assert (result.exit_code, "other engines than now" in result.stderr) == (3, True)

    given: list[int] = []

    def noted(job: Job, parts: list[Part], room: Room) -> Iterator[Report]:
        given.extend(part.number for part in parts)
        return every(job, parts, room)

    monkeypatch.setattr(session, "reports", noted)
    result = run_cli(*call, out, "--resume")
    assert (result.exit_code, given) == (0, [2, 3, 4]), result.output
    assert "10 pictures are done already" in result.stderr
    assert "15 of 21 pictures classified, 6 rows with an error" in result.stderr
    assert rows_of(out) == rows_of(whole)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    result = run_cli(*call, out, "--resume")
    assert (result.exit_code, "is complete already" in result.stderr) == (0, True)
    assert before == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    result = run_cli(*call, out)
    assert (result.exit_code, "exists already" in result.stderr) == (3, True)


def test_each_error_is_one_line_with_its_code_and_leaves_nothing(
    one_worker: None, model: Path, sources: Path, tmp_path: Path, run_cli: Cli
) -> None:
    (tmp_path / "text.onnx").write_text("words")
    (tmp_path / "model.bin").write_bytes(b"x")
    empty = write_tar(tmp_path / "empty.tar", {"a.txt": b"x"})
    out = tmp_path / "results"
    for engine, path, more, code, words in (
        (tmp_path / "absent.onnx", sources, (), 3, "does not exist"),
        (tmp_path / "text.onnx", sources, (), 5, "is not an ONNX model"),
        (tmp_path / "model.bin", sources, (), 11, "has no sidecar"),
        (model, sources, ("--crops", "one"), 5, "averages 10 crops"),
        (model, tmp_path / "absent", (), 3, "cannot be opened"),
        (model, empty, (), 3, "hold no pictures"),
        (model, sources, ("--csv",), 3, "--csv does not go with --ray"),
        (model, sources, ("--features", "f.npy"), 3, "--features does not go with --ray"),
        (model, sources, ("--threads", "2"), 3, "--threads and --gpu do not go with --ray"),
        (model, sources, ("--strict",), 3, "--strict does not go with --ray"),
        (model, sources, ("--workers", "3", "--cores-per-worker", "1"), 3, "room for 2 workers of 1 cores each"),
        (model, sources, ("--cores-per-worker", "3"), 3, "has 3 cores, the largest has 2"),
    ):
        result = run_cli("infer", "--engine", engine, "--ray", path, "-o", out, *more)
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
        assert result.stderr.count("\n") == 1
        assert not out.exists()
        assert not (tmp_path / "results.part").exists()
    assert "name it with: -o results" in run_cli("infer", "--engine", model, "--ray", sources).stderr
    assert run_cli("infer", "--engine", model, "--ray").exit_code == 2
    assert run_cli("infer", "--engine", model, sources, "--workers", "2").exit_code == 2


def test_a_refused_command_leaves_the_folder_of_another_alone(
    one_worker: None, model: Path, sources: Path, tmp_path: Path, run_cli: Cli
) -> None:
    begun = tmp_path / "results.part"
    begun.mkdir()
    (begun / "run.json").write_text("{}")
    for more, words in (((), "is left of a run that did not end"), (("--resume",), "cannot be gone on with")):
        result = run_cli("infer", "--engine", model, "--ray", sources, "-o", tmp_path / "results", *more)
        assert (result.exit_code, words in result.stderr) == (3, True)
        assert (begun / "run.json").read_text() == "{}"


def test_nothing_but_bad_pictures_ends_with_its_code_and_rows(
    one_worker: None, model: Path, tmp_path: Path, run_cli: Cli
) -> None:
    shard = write_tar(tmp_path / "bad.tar", {"a.png": b"words", "b.png": b""})
    result = run_cli("infer", "--engine", model, "--ray", shard, "-o", tmp_path / "results")
    assert (result.exit_code, "none of the 2 pictures could be classified" in result.stderr) == (4, True)
    assert [bool(row["error"]) for row in rows_of(tmp_path / "results")] == [True, True]


def options(out: Path, **changes: object) -> ClusterOptions:
    given = {"form": None, "output": out, "address": "local", "workers": None, "cores": None, "top": 3, "batch": 4}
    rest = {"crops": None, "scaled": False, "resume": False, "quiet": True, "features": None, "features_of": "mean"}
    return ClusterOptions.asked(**(given | rest | {"gpu_decoding": False, "strict": False} | changes))  # type: ignore[arg-type]


def test_a_part_that_keeps_ending_workers_is_given_up(model: Path, sources: Path, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / ".part-000007.begun").write_bytes(b"." * ATTEMPTS)
    worker = Worker(Job((model,), BackendOptions(), options(tmp_path / "out"), Path.cwd()))
    part = Part(7, "files", (str(sources / "files" / "0.png"),))
    report = Report(**json.loads(worker({"part": [part.to_json()]})["report"][0]))
    assert (report.code, f"{ATTEMPTS} workers died over part 7" in report.fault) == (DeviceError.exit_code, True)
    report = Report(**json.loads(worker({"part": [part.to_json()]})["report"][0]))
    assert (report.fault, report.done, report.attempts) == ("", 1, 1)
    (written,) = (tmp_path / "out.part").glob("part-*")
    before = written.stat().st_mtime_ns
    again = Report(**json.loads(worker({"part": [part.to_json()]})["report"][0]))
    assert (again.done, again.bad, written.stat().st_mtime_ns) == (1, 0, before), "a finished part is not done again"


def test_another_version_or_folder_on_a_machine_is_said(model: Path, tmp_path: Path) -> None:
    asked = options(tmp_path / "out")
    for job, words in (
        (Job((model,), BackendOptions(), asked, Path.cwd(), version="0"), "this one 0; install one"),
        (Job((model,), BackendOptions(), asked, tmp_path / "absent"), "a cluster needs the pictures"),
    ):
        text = Worker(job)({"part": [Part(0, "files", ("a.png",)).to_json()]})["report"][0]
        assert words in json.loads(text)["fault"]


def test_what_follows_ray_is_an_address_or_the_first_path() -> None:
    for value in ("local", "auto", "10.0.0.1:6379", "head.example:6379", "[::1]:6379", "ray://head:10001"):
        assert addressed(value, ("images",)) == (value, ("images",))
    for value in ("images", "./auto", "a/b:1", "-", "shard-00.tar"):
        assert addressed(value, ("more",)) == ("local", (value, "more"))


def test_workers_have_a_gpu_each_or_cores(tmp_path: Path) -> None:
    plain, out = BackendOptions(), tmp_path / "out"

    def node(cpu: float, gpu: float = 0, alive: bool = True) -> dict[str, object]:
        return {"Alive": alive, "Resources": {"CPU": cpu, "GPU": gpu} if gpu else {"CPU": cpu}}

    assert room_for([node(16.0), node(7.0), node(64.0, 0, False)], options(out), plain) == Room(5, 4, False)
    assert room_for([node(2.0)], options(out), plain) == Room(1, 2, False)
    gpus = [node(16.0, 8.0), node(16.0, 2.0), node(4.0)]
    assert room_for(gpus, options(out), plain) == Room(10, 2, True)
    assert room_for(gpus, options(out, cores=4), plain) == Room(9, 4, False)
    assert room_for(gpus, options(out), BackendOptions("onnxruntime-cpu")) == Room(9, 4, False)
    with pytest.raises(InputError, match="room for 10 workers of a GPU each, --workers 11 was asked for"):
        room_for(gpus, options(out, workers=11), plain)


def test_a_ray_client_is_refused() -> None:
    with pytest.raises(InputError, match="run the command on a machine of the cluster"), connected("ray://head:10001"):
        pass


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"alexnet-toolchain\[ray\]"), connected("local"):
        pass


def test_labels_are_in_the_rows(one_worker: None, model: Path, sources: Path, tmp_path: Path, run_cli: Cli) -> None:
    run_cli("infer", "--engine", model, "--ray", sources / "files" / "0.png", "-o", tmp_path / "results")
    (row,) = rows_of(tmp_path / "results")
    assert row["classes"][0][0] == LABELS[0]
