"""tritonclient, unmodified, as a real client of a real server; and /v1/classify, metrics, the queue, signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from click.testing import Result
from tritonclient.utils import InferenceServerException

from alexnet.errors import InputError
from alexnet.runtime.serve.session import named_engines
from tests.runtime.conftest import SIDE, colour_model, expected, png
from tests.runtime.serve.conftest import Served, serving

Cli = Callable[..., Result]


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    """tritonclient's HTTP client."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=20.0) as opened:
        yield opened


def some_pictures(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)


def asked(pictures: np.ndarray, binary: bool) -> list[triton.InferInput]:
    given = triton.InferInput("pictures", list(pictures.shape), "UINT8")
    given.set_data_from_numpy(pictures, binary_data=binary)
    return [given]


def test_it_is_live_and_ready_and_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("colours") and client.is_model_ready("sharp", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("sharp", "2")
    assert client.get_server_metadata()["name"] == "alexnet"
    assert client.get_model_metadata("sharp") == {
        "name": "sharp",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 3]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize(("model", "gain"), [("colours", 0.05), ("sharp", 0.1)])
def test_pictures_are_answered_as_bytes_and_as_json(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool | None, model: str, gain: float
) -> None:
    pictures = some_pictures(19)
    outputs = None if binary_out is None else [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    result = client.infer(model, asked(pictures, binary_in), outputs=outputs, request_id="7", model_version="1")
    found = result.as_numpy("probabilities")
    assert (found.dtype, found.shape) == (np.float32, (19, 3))
    assert np.allclose(found, expected(pictures, gain), atol=1e-6)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("7", model, "1")


@pytest.mark.parametrize("binary", [True, False])
def test_the_best_classes_come_with_their_labels(client: triton.InferenceServerClient, binary: bool) -> None:
    pictures = np.zeros((2, SIDE, SIDE, 3), dtype=np.uint8)
    pictures[0, ..., 2], pictures[1, ..., 1] = 200, 200
    wanted = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    found = client.infer("colours", asked(pictures, True), outputs=[wanted]).as_numpy("probabilities")
    texts = [[bytes(text).decode() if binary else str(text) for text in row] for row in found]
    assert [row[0].split(":")[1:] for row in texts] == [["2", "blue"], ["1", "green"]]
    assert float(texts[0][0].split(":")[0]) == pytest.approx(expected(pictures)[0, 2], abs=1e-6)


def test_requests_that_come_together_get_their_own_answers(served: Served) -> None:
    def one(seed: int) -> bool:
        pictures = some_pictures(1 + seed % 3, seed)
        with triton.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=20.0) as own:
            found = own.infer("sharp", asked(pictures, True)).as_numpy("probabilities")
        return np.allclose(found, expected(pictures, 0.1), atol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_a_model_that_is_not_there_is_said(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'other', expected colours, sharp") as found:
        client.infer("other", asked(some_pictures(1), True))
    assert found.value.status() == "404"


def test_classify_answers_as_infer_does(served: Served, tmp_path: Path, run_cli: Cli) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png((90, 120, 110)))
    model = colour_model(tmp_path / "colours.onnx")
    (row,) = json.loads(run_cli("infer", "--engine", model, picture, "--json", "--quiet").stdout)["pictures"]
    answer = served.ask("POST", "/v1/classify", picture.read_bytes())
    assert (answer.status, answer.json["classes"]) == (200, row["classes"])
    assert (answer.json["model"], answer.json["backend"]) == ("colours", "onnxruntime-cpu")
    other = served.ask("POST", "/v1/classify?model=sharp&top=1", picture.read_bytes()).json
    assert (other["model"], [entry["label"] for entry in other["classes"]]) == ("sharp", ["green"])


def test_prometheus_is_told(served: Served) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def figures() -> dict[tuple[str, str, str], float]:
        answer = served.ask("GET", "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return {
            (sample.name, sample.labels["model"], sample.labels.get("status", "")): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }

    before = figures()
    assert served.ask("POST", "/v1/classify?model=sharp", png((1, 2, 3))).status == 200
    assert served.ask("POST", "/v1/classify?model=sharp", b"no picture").status == 400
    assert served.ask("POST", "/v1/classify?model=none", b"").status == 404
    after = figures()
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert grown["alexnet_pictures_total", "sharp", ""] == 1
    assert grown["alexnet_requests_total", "sharp", "200"] == grown["alexnet_requests_total", "sharp", "400"] == 1
    assert grown["alexnet_requests_total", "", "404"] == 1
    assert grown["alexnet_batch_pictures_count", "sharp", ""] == 1
    assert after["alexnet_waiting_pictures", "sharp", ""] == 0


def test_a_full_queue_is_refused_and_says_when_to_come_again(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    with (
        serving("--engine", model, "--queue", "2", "--delay", "3000") as server,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda _: server.ask("POST", "/v1/classify", png((9, 9, 200))), range(6)))
        assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503, 503]
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.headers["Retry-After"] == "1"
        assert "2 pictures are waiting" in refused.json["error"]
        assert server.ask("POST", "/v1/classify", png((9, 9, 200))).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_end(tmp_path: Path, number: signal.Signals) -> None:
    model = colour_model(tmp_path / "model.onnx")
    with serving("--engine", model, "--delay", "4000") as server, ThreadPoolExecutor(2) as pool:
        idle = socket.create_connection(server.address)
        under_way = pool.submit(server.ask, "POST", "/v1/classify", png((9, 200, 9)))
        server.until_waiting(1)
        server.process.send_signal(number)
        refused = False
        while not refused and not under_way.done():
            try:
                socket.create_connection(server.address).close()
                time.sleep(0.02)
            except ConnectionRefusedError:
                refused = True
        assert refused and not under_way.done()
        assert under_way.result().json["classes"][0]["label"] == "green"
        assert server.process.wait(timeout=20) == 0
        idle.close()


def test_replicas_answer_alike(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    with serving("--engine", model, "--replicas", "2", "--batch", "1") as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", "/v1/classify", png((9, 9, 200))).json, range(20)))
        assert answers == answers[:1] * 20


def test_names_are_those_given_or_the_files(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.onnx"
    odd.touch()
    assert named_engines(["runs/net.onnx", "x=net.onnx"]) == {"net": Path("runs/net.onnx"), "x": Path("net.onnx")}
    assert named_engines([f"odd={odd}"]) == {"odd": odd}
    with pytest.raises(InputError, match="'a=b' cannot be a model's name"):
        named_engines([str(odd)])
    with pytest.raises(InputError, match="both called net"):
        named_engines(["runs/net.onnx", "other/net.onnx"])


def test_what_cannot_be_served_is_said_before_it_listens(tmp_path: Path, run_cli: Cli) -> None:
    assert run_cli("serve", "--engine", tmp_path / "none.onnx", "--port", "0").exit_code == 3
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(b"no model")
    assert run_cli("serve", "--engine", foreign, "--port", "0").exit_code == 5
    plan = tmp_path / "bare.plan"
    plan.write_bytes(b"a plan without a sidecar")
    assert run_cli("serve", "--engine", plan, "--port", "0").exit_code == 11
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_cli("serve", "--engine", colour_model(tmp_path / "model.onnx"), "--port", taken.getsockname()[1])
    assert (done.exit_code, "give another --host or --port" in done.stderr) == (3, True)


@pytest.mark.parametrize("package", ["uvicorn", "starlette", "prometheus_client"])
def test_what_is_not_installed_comes_with_its_extra(package: str) -> None:
    line = f"import sys; sys.modules['{package}'] = None; from alexnet.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", line, "serve", "--engine", "model.onnx"], capture_output=True, text=True
    )
    assert done.returncode == 7
    assert f"{package}, which is not installed" in done.stderr and "alexnet-toolchain[serve]" in done.stderr
