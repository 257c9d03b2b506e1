"""`alexnet report` as its user meets it."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.files import sha256_of
from alexnet.runtime.benchmark.results import Report, Row
from alexnet.runtime.benchmark.timing import Latency, Spread
from tests.reproduce.report.conftest import HOSTILE

Cli = Callable[..., Result]


def shown(page: Path) -> str:
    """Return the page's text without its tags."""
    text = re.sub(r"<(style|script)>.*?</\1>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_errors_are_those_of_evaluate(trained: Path, written: Path, run_cli: Cli) -> None:
    found = run_cli("evaluate", trained / "runs" / "tiny-001", trained / "data", "--json")
    text = shown(written)
    for row, name in zip(json.loads(found.stdout), ("centre crop", "ten crops"), strict=True):
        wrong, outside = round(row["top1"] * row["pictures"]), round(row["top5"] * row["pictures"])
        assert f"{name} {row['top1'] * 100:.2f} % {wrong} {row['top5'] * 100:.2f} % {outside}" in text


def test_the_same_run_gives_the_same_page(trained: Path, written: Path, run_cli: Cli, tmp_path: Path) -> None:
    again = run_cli("report", trained / "runs" / "tiny-001", "-o", tmp_path / "again.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_nothing_on_the_page_is_fetched_and_names_are_only_text(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert html.escape(HOSTILE, quote=False) in page
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert str(written.parents[2]) not in page


def test_seed_versions_and_digests_are_on_the_page(trained: Path, written: Path) -> None:
    run, text = trained / "runs" / "tiny-001", shown(written)
    state = json.loads((run / "checkpoint.json").read_text())
    for digest in (state["sha256"], sha256_of(run / "statistics.safetensors"), sha256_of(run / "recipe.toml")):
        assert digest in text
    assert "seed 0" in text and "torch" in text and "generator" in text
    assert len(re.findall(r"labels and pixels, SHA-256 [0-9a-f]{64}", text)) == 1


def test_the_digest_follows_the_pictures(trained: Path, written: Path, run_cli: Cli, tmp_path: Path) -> None:
    data = Path(shutil.copytree(trained / "data", tmp_path / "data"))
    one, other = sorted((data / "val" / "key").iterdir())[0], sorted((data / "val" / "mug").iterdir())[0]
    shutil.copy(other, one)
    run_cli("report", trained / "runs" / "tiny-001", "--data", data, "-o", tmp_path / "other.html")
    digests = [
        re.findall(r"pixels, SHA-256 ([0-9a-f]{64})", shown(page)) for page in (written, tmp_path / "other.html")
    ]
    assert digests[0] != digests[1]


def test_what_was_made_from_the_run_is_found_with_its_proof(written: Path) -> None:
    text = shown(written)
    assert "Models that hold parity 1 of 1" in text
    assert re.search(r"model\.onnx ONNX, fp32, 10 crops.* holds every probability is within 0\.0001", text)


def test_without_figures_the_page_names_the_command_that_makes_them(written: Path) -> None:
    assert "alexnet benchmark model.onnx --json > benchmark.json" in shown(written)


def benchmark(path: Path) -> Path:
    row = Row(Path("model.onnx"), "onnxruntime-cpu", 4, "CPU", "fp32")
    row.latency, row.throughput = Latency.of([0.25, 0.25]), Spread.of([16.5])
    failed = Row(Path("model.onnx"), "openvino-cpu", 4, error="<b>no room</b>")
    machine = {"processor": "A processor", "cores": 2, "instructions": ["avx2"], "python": "3.11", "packages": {}}
    path.write_text(json.dumps(Report(machine, 7, [], [row, failed], {}, [], [], {}).to_values()))
    return path


def test_the_table_of_a_benchmark(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    measured = benchmark(tmp_path / "speed.json")
    page = tmp_path / "page.html"
    result = run_cli("report", trained / "runs" / "tiny-001", "-o", page, "--benchmark", measured)
    assert result.exit_code == 0, result.output
    text = shown(page)
    assert "A processor, 2 cores, avx2, Python 3.11; 7 rounds" in text
    assert "model.onnx onnxruntime-cpu fp32 4 16.5 \N{EN DASH} 250.00 250.00" in text
    assert "failed: <b>no room</b>" in text
    assert sha256_of(measured) in text


def test_many_classes_are_a_picture_and_not_a_table(
    trained: Path, run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet.reproduce.report.page.MATRIX", 9)
    page = tmp_path / "many.html"
    assert run_cli("report", trained / "runs" / "tiny-001", "-o", page).exit_code == 0
    assert 'class="matrix"' not in page.read_text(encoding="utf-8")
    assert "Confusion matrix of 10 classes as a picture" in page.read_text(encoding="utf-8")
    assert "Class by class" in shown(page)


def test_a_run_that_logged_no_epochs_says_so(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "runs" / "tiny-001", tmp_path / "run"))
    (run / "metrics.jsonl").unlink()
    assert run_cli("report", run).exit_code == 0
    assert "This run logged no epochs" in shown(run / "report.html")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--data", "nowhere"), 3, "nowhere has no folder train/"),
        (("--artefact", "nowhere.onnx"), 3, "nowhere.onnx does not exist"),
        (("--artefact", "."), 3, "holds no model"),
        (("--benchmark", "labels.json"), 3, "is not the document of a benchmark"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    trained: Path,
    run_cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.json").write_text('["a"]')
    result = run_cli("report", trained / "runs" / "tiny-001", "-o", "page.html", *options)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_run_whose_data_are_gone_asks_for_them(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "runs" / "tiny-001", tmp_path / "run"))
    (run / "data.json").write_text('{"data": "/nowhere/at/all"}')
    result = run_cli("report", run)
    assert (result.exit_code, "give them with --data" in result.stderr) == (3, True), result.stderr
    (run / "data.json").unlink()
    result = run_cli("report", run)
    assert (result.exit_code, "give them with --data" in result.stderr) == (3, True), result.stderr
