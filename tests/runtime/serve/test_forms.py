"""The forms of a model behind one description: a fixed batch and float input are served as any other model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from click.testing import Result

from tests.runtime.backends.test_onnx_file import changed, float_planes, four_at_once
from tests.runtime.conftest import SIDE, colour_model, expected, metadata, png
from tests.runtime.serve.conftest import Served, serving

Cli = Callable[..., Result]
FORMS = {"fixed": ({"batch": 4}, four_at_once), "floats": ({"input": "float"}, float_planes)}


def write(folder: Path, form: str) -> Path:
    facts, change = FORMS[form]
    return changed(colour_model(folder / f"{form}.onnx", metadata(**facts)), change)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that takes four pictures at once and one that takes floats."""
    folder = tmp_path_factory.mktemp("forms")
    engines = [argument for form in FORMS for argument in ("--engine", write(folder, form))]
    with serving(*engines, "--grpc-port", "0") as server:
        yield server


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [1, 4, 7])
def test_tensors_are_answered_in_any_number_over_both_protocols(forms: Served, form: str, number: int) -> None:
    pictures = np.random.default_rng(number).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)

    def answer(of: Any, port: int, **options: Any) -> np.ndarray:
        given = of.InferInput("pictures", list(pictures.shape), "UINT8")
        given.set_data_from_numpy(pictures)
        with of.InferenceServerClient(f"127.0.0.1:{port}") as client:
            (described,) = client.get_model_metadata(form, **options)["inputs"]
            assert (described["datatype"], [int(size) for size in described["shape"]]) == ("UINT8", [-1, SIDE, SIDE, 3])
            found: np.ndarray = client.infer(form, [given]).as_numpy("probabilities")
            return found

    for found in (answer(triton_http, forms.port), answer(triton_grpc, forms.grpc_port, as_json=True)):
        assert found.shape == (number, 3)
        assert np.abs(found - expected(pictures)).max() < 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_classify_answers_as_infer_does(forms: Served, form: str, tmp_path: Path, run_cli: Cli) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png((90, 120, 110)))
    engine = write(tmp_path, form)
    (row,) = json.loads(run_cli("infer", "--engine", engine, picture, "--json", "--quiet").stdout)["pictures"]
    answer = forms.ask("POST", f"/v1/classify?model={form}", picture.read_bytes())
    assert (answer.status, answer.json["classes"]) == (200, row["classes"])


@pytest.mark.parametrize("form", FORMS)
def test_pictures_that_come_together_get_their_own_answers(forms: Served, form: str) -> None:
    sent = [(200, 20, 20), (20, 200, 20), (20, 20, 200)] * 7
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda colour: forms.ask("POST", f"/v1/classify?model={form}&top=1", png(colour)), sent)
        labels = [answer.json["classes"][0]["label"] for answer in answers]
    assert labels == ["red", "green", "blue"] * 7


def test_a_fixed_batch_is_never_exceeded(tmp_path: Path) -> None:
    with serving("--engine", write(tmp_path, "fixed"), "--batch", "8", "--delay", "1000") as server:
        with ThreadPoolExecutor(8) as pool:
            assert {answer.status for answer in pool.map(lambda _: classify(server), range(8))} == {200}
        figures = dict(line.rsplit(" ", 1) for line in server.ask("GET", "/metrics").body.decode().splitlines())
        batches = figures['alexnet_batch_pictures_count{model="fixed"}']
        assert figures['alexnet_batch_pictures_bucket{le="4.0",model="fixed"}'] == batches
        assert figures['alexnet_batch_pictures_bucket{le="1.0",model="fixed"}'] != batches


def classify(server: Served) -> Any:
    return server.ask("POST", "/v1/classify", png((9, 9, 200)))
