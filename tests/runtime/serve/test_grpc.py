"""tritonclient's gRPC client, unmodified, as a real client of a real server; the queue, signals, metrics."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from click.testing import Result
from tritonclient.utils import InferenceServerException

from tests.runtime.conftest import SIDE, colour_model, expected
from tests.runtime.serve.conftest import Served, serving

Cli = Callable[..., Result]


def opened(served: Served) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}")


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    """tritonclient's gRPC client."""
    with opened(served) as one:
        yield one


def some_pictures(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)


def asked(pictures: np.ndarray, of: Any = triton) -> list[Any]:
    given = of.InferInput("pictures", list(pictures.shape), "UINT8")
    given.set_data_from_numpy(pictures)
    return [given]


def code(error: pytest.ExceptionInfo[InferenceServerException]) -> str:
    return str(error.value.status()).removeprefix("StatusCode.")


def test_it_is_live_and_ready_and_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("colours") and client.is_model_ready("sharp", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("sharp", "2")
    server = client.get_server_metadata(as_json=True)
    assert (server["name"], server["extensions"]) == ("alexnet", ["classification"])
    assert client.get_model_metadata("sharp", as_json=True) == {
        "name": "sharp",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "pictures", "datatype": "UINT8", "shape": ["-1", str(SIDE), str(SIDE), "3"]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]}],
    }


@pytest.mark.parametrize("number", [1, 5, 19])
@pytest.mark.parametrize(("model", "gain"), [("colours", 0.05), ("sharp", 0.1)])
def test_answers_are_those_of_http_to_the_bit(
    served: Served, client: triton.InferenceServerClient, number: int, model: str, gain: float
) -> None:
    pictures = some_pictures(number)
    result = client.infer(model, asked(pictures), request_id="7", model_version="1")
    found = result.as_numpy("probabilities")
    assert (found.dtype, found.shape) == (np.float32, (number, 3))
    assert np.allclose(found, expected(pictures, gain), atol=1e-6)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", model, "1")
    with triton_http.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=20.0) as http:
        other = http.infer(model, asked(pictures, triton_http)).as_numpy("probabilities")
    assert found.tobytes() == other.tobytes()


def test_the_best_classes_come_with_their_labels_as_over_http(
    served: Served, client: triton.InferenceServerClient
) -> None:
    pictures = some_pictures(2)
    pictures[0, ..., 2], pictures[1, ..., 1] = 200, 200
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer("colours", asked(pictures), outputs=wanted).as_numpy("probabilities")
    assert [text.decode().split(":")[1:] for text in found[:, 0]] == [["2", "blue"], ["1", "green"]]
    with triton_http.InferenceServerClient(f"127.0.0.1:{served.port}", network_timeout=20.0) as http:
        wanted = [triton_http.InferRequestedOutput("probabilities", class_count=2)]
        other = http.infer("colours", asked(pictures, triton_http), outputs=wanted).as_numpy("probabilities")
    assert found.tolist() == other.tolist()


def test_the_asynchronous_client_and_many_at_once_get_their_own_answers(served: Served) -> None:
    async def whole() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
            sent = [some_pictures(1 + seed % 3, seed) for seed in range(40)]
            # The queue has 64 places, and a request takes up to three.
            places = asyncio.Semaphore(20)

            async def one(pictures: np.ndarray) -> Any:
                async with places:
                    return await client.infer("sharp", asked(pictures))

            results = await asyncio.gather(*map(one, sent))
            for pictures, result in zip(sent, results, strict=True):
                assert np.allclose(result.as_numpy("probabilities"), expected(pictures, 0.1), atol=1e-6)

    asyncio.run(whole())


def test_requests_of_both_forms_are_run_together(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    arguments = ("--engine", model, "--grpc-port", "0", "--delay", "10000", "--batch", "2")
    with serving(*arguments) as server, ThreadPoolExecutor(1) as pool, opened(server) as client:
        began = time.monotonic()
        under_way = pool.submit(client.infer, "model", asked(some_pictures(1)))
        with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=20.0) as http:
            http.infer("model", asked(some_pictures(1), triton_http))
        under_way.result()
        assert time.monotonic() - began < 10
        assert b'batch_pictures_bucket{le="1.0",model="model"} 0.0' in server.ask("GET", "/metrics").body


def test_a_model_or_a_version_that_is_not_there_is_said(client: triton.InferenceServerClient) -> None:
    for ask in (
        lambda: client.infer("other", asked(some_pictures(1))),
        lambda: client.get_model_metadata("other"),
    ):
        with pytest.raises(InferenceServerException, match="no model 'other', expected colours, sharp") as found:
            ask()
        assert code(found) == "NOT_FOUND"
    with pytest.raises(InferenceServerException, match="sharp has no version '2', expected 1") as found:
        client.infer("sharp", asked(some_pictures(1)), model_version="2")
    assert code(found) == "NOT_FOUND"


def test_what_is_not_offered_is_unimplemented(client: triton.InferenceServerClient) -> None:
    for ask in (
        client.get_inference_statistics,
        client.get_model_repository_index,
        client.get_system_shared_memory_status,
        lambda: client.get_model_config("sharp"),
        lambda: client.infer("sharp", asked(some_pictures(1)), compression_algorithm="gzip"),
    ):
        with pytest.raises(InferenceServerException) as found:
            ask()
        assert code(found) == "UNIMPLEMENTED"


def test_a_message_over_the_limit_is_refused(client: triton.InferenceServerClient) -> None:
    pictures = np.zeros((20_000_000 // (SIDE * SIDE * 3) + 1, SIDE, SIDE, 3), dtype=np.uint8)
    with pytest.raises(InferenceServerException, match="larger than max") as found:
        client.infer("sharp", asked(pictures))
    assert code(found) == "RESOURCE_EXHAUSTED"
    assert client.is_server_live()


def test_prometheus_is_told(served: Served, client: triton.InferenceServerClient) -> None:
    def count(status: str, model: str = "sharp") -> float:
        start = f'alexnet_requests_total{{model="{model}",protocol="grpc",status="{status}"}} '
        lines = served.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))

    before = [count("OK"), count("INVALID_ARGUMENT"), count("NOT_FOUND", "")]
    client.infer("sharp", asked(some_pictures(1)))
    for name, number in (("sharp", 65), ("none", 1)):
        with pytest.raises(InferenceServerException):
            client.infer(name, asked(some_pictures(number)))
    assert [count("OK"), count("INVALID_ARGUMENT"), count("NOT_FOUND", "")] == [value + 1 for value in before]
    assert b'alexnet_request_seconds_count{model="sharp",protocol="grpc"}' in served.ask("GET", "/metrics").body


def test_messages_are_let_go_once_they_are_read(tmp_path: Path) -> None:
    large = asked(np.zeros((11_000, SIDE, SIDE, 3), dtype=np.uint8))
    arguments = ("--engine", colour_model(tmp_path / "model.onnx"), "--grpc-port", "0")
    with serving(*arguments) as server, ThreadPoolExecutor(20) as pool, opened(server) as client:

        def peak_after(rounds: int) -> int:
            for _ in range(rounds):
                for call in [pool.submit(client.infer, "model", large) for _ in range(20)]:
                    assert "another shape" in str(call.exception()) or "being worked on" in str(call.exception())
            status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8").splitlines()
            return next(int(line.split()[1]) // 1000 for line in status if line.startswith("VmHWM"))

        # Twenty messages of 19 MB at once, some of them copied, and what the allocator keeps of them. The 160 after
        # them would take 3,000 MB more.
        first = peak_after(4)
        assert peak_after(8) - first < 500
        assert client.is_server_live()


def test_a_full_queue_is_refused_time_and_again(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    arguments = ("--engine", model, "--grpc-port", "0", "--queue", "2", "--delay", "2000")
    with serving(*arguments) as server, opened(server) as client, ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            held = [pool.submit(client.infer, "model", asked(some_pictures(1))) for _ in range(2)]
            server.until_waiting(2)
            for _ in range(4):
                with pytest.raises(InferenceServerException, match="2 pictures are waiting, of 2 at most") as found:
                    client.infer("model", asked(some_pictures(1)))
                assert code(found) == "RESOURCE_EXHAUSTED"
            for one in held:
                one.result()


def test_clients_that_go_away_give_their_places_back(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    arguments = ("--engine", model, "--grpc-port", "0", "--queue", "2", "--delay", "10000")
    with serving(*arguments) as server, opened(server) as client:
        answered = threading.Event()
        cancelled = client.async_infer("model", asked(some_pictures(1)), lambda result, error: answered.set())
        server.until_waiting(1)
        cancelled.cancel()
        server.until_waiting(0)
        assert answered.wait(10)
        with pytest.raises(InferenceServerException) as found:
            client.infer("model", asked(some_pictures(2)), client_timeout=0.5)
        assert code(found) == "DEADLINE_EXCEEDED"
        server.until_waiting(0)
        leaving = opened(server)
        leaving.async_infer("model", asked(some_pictures(2)), lambda result, error: None)
        server.until_waiting(2)
        leaving.close()
        server.until_waiting(0)
        status = 'model="model",protocol="grpc",status="CANCELLED"} 3.0'
        assert status in server.ask("GET", "/metrics").body.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_end(tmp_path: Path, number: signal.Signals) -> None:
    model = colour_model(tmp_path / "model.onnx")
    arguments = ("--engine", model, "--grpc-port", "0", "--delay", "4000")
    with serving(*arguments) as server, ThreadPoolExecutor(1) as pool, opened(server) as client:
        under_way: Future[Any] = pool.submit(client.infer, "model", asked(some_pictures(1)))
        server.until_waiting(1)
        server.process.send_signal(number)
        refused = False
        while not refused and not under_way.done():
            try:
                socket.create_connection(("127.0.0.1", server.grpc_port)).close()
                time.sleep(0.02)
            except ConnectionRefusedError:
                refused = True
        assert refused and not under_way.done()
        assert np.allclose(under_way.result().as_numpy("probabilities"), expected(some_pictures(1)), atol=1e-6)
        assert server.process.wait(timeout=20) == 0


def test_what_is_not_answered_in_time_is_ended(tmp_path: Path) -> None:
    model = colour_model(tmp_path / "model.onnx")
    arguments = ("--engine", model, "--grpc-port", "0", "--delay", "10000", "--drain", "0")
    with serving(*arguments) as server, ThreadPoolExecutor(1) as pool, opened(server) as client:
        under_way = pool.submit(client.infer, "model", asked(some_pictures(1)))
        server.until_waiting(1)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(InferenceServerException):
            under_way.result(8)
        assert server.process.wait(timeout=8) == 0


def test_there_is_no_grpc_unless_it_is_asked_for(tmp_path: Path) -> None:
    with serving("--engine", colour_model(tmp_path / "model.onnx")) as server:
        assert server.grpc_port == 0
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
        assert "cygrpc" not in mapped


def test_a_port_that_is_taken_is_said(tmp_path: Path, run_cli: Cli, served: Served) -> None:
    model = colour_model(tmp_path / "model.onnx")
    done = run_cli("serve", "--engine", model, "--port", "0", "--grpc-port", served.grpc_port)
    assert (done.exit_code, "give another --host or --grpc-port" in done.stderr) == (3, True)


@pytest.mark.parametrize("package", ["grpc", "tritonclient", "rapidjson"])
def test_what_is_not_installed_comes_with_its_extra(package: str) -> None:
    line = f"import sys; sys.modules['{package}'] = None; from alexnet.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", line, "serve", "--engine", "model.onnx", "--grpc-port", "0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7
    assert f"{package}, which is not installed" in done.stderr and "alexnet-toolchain[serve-grpc]" in done.stderr
