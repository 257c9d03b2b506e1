"""Answers of `alexnet serve` under load, one request in a hundred hostile, compared with the model's own.

    .venv/bin/python benchmarks/serving_answers.py model.onnx images/ --requests 100000

Pictures go as JPEG to /v1/classify and as tensors of 1 to 3 pictures to the inference protocol, over 32 connections. An
answer is wrong when a probability differs by more than 1e-5 from what the model answers for the picture by itself, when
a good request gets anything but an answer, or when a hostile one gets anything but an error of the client's. A request
that got 503 or 408, or on which the server hung up, is counted and sent again: a machine that stops both sides for
longer than the server waits gives such.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import aiohttp
import numpy as np

from alexnet.picture_files import find_pictures
from alexnet.pictures import Pixels, picture_of
from alexnet.runtime.backends import Floats, open_backend

CONNECTIONS, HOSTILE, TOLERANCE = 32, 0.01, 1e-5
# Different pictures that are sent.
PICTURES = 200
LENGTH = "Inference-Header-Content-Length"


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """Run `alexnet serve` at a free port; yield its URL."""
    line = [sys.executable, "-m", "alexnet", "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" ")[0]
        finally:
            process.terminate()


@dataclass(frozen=True)
class Good:
    """A picture as JPEG and as pixels [S, S, 3], and its probabilities [classes]."""

    jpeg: bytes
    pixels: Pixels
    probabilities: Floats


def good_ones(model: Path, folder: Path) -> tuple[list[Good], tuple[str, ...]]:
    """Return pictures of a folder with what the model answers for each by itself, and its labels."""
    backend = open_backend(model)
    found = []
    for path in islice(find_pictures([folder]), PICTURES):
        data = path.read_bytes()
        pixels = picture_of(data, str(path), backend.metadata.preprocessing)
        found.append(Good(data, pixels, backend.probabilities(pixels[None])[0]))
    labels = backend.metadata.labels
    backend.close()
    return found, labels


def tensor_request(pictures: Pixels) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an inference request with binary tensors both ways."""
    given = {
        "name": "pictures",
        "datatype": "UINT8",
        "shape": pictures.shape,
        "parameters": {"binary_data_size": pictures.nbytes},
    }
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    return head + pictures.tobytes(), {LENGTH: str(len(head))}


class Load:
    """Sends requests over a number of connections and counts what became of them."""

    def __init__(self, url: str, name: str, good: list[Good], labels: tuple[str, ...], seed: int) -> None:
        self.url, self.infer, self.good, self.labels = url, f"{url}/v2/models/{name}/infer", good, labels
        self.random = random.Random(seed)
        self.found: Counter[str] = Counter()
        self.worst = 0.0

    async def run(self, requests: int, seconds: float) -> None:
        """Send requests until there have been as many or the time is up."""
        left, until = iter(range(requests)), time.monotonic() + seconds

        async def connection(session: aiohttp.ClientSession) -> None:
            for _ in left:
                if time.monotonic() > until:
                    return
                while True:
                    try:
                        await self.one(session)
                        break
                    except aiohttp.ClientConnectionError:
                        # As when both sides were stopped for longer than the server keeps an idle connection.
                        self.found["hung up"] += 1

        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(connection(session) for _ in range(CONNECTIONS)))

    async def one(self, session: aiohttp.ClientSession) -> None:
        """Send one request and judge its answer."""
        if self.random.random() < HOSTILE:
            await self.hostile(session)
        elif self.random.random() < 0.5:
            sent = self.random.choice(self.good)
            answer = json.loads(await self.answered(session, f"{self.url}/v1/classify?top=9999", sent.jpeg, {}))
            found = {entry["label"]: entry["probability"] for entry in answer["classes"]}
            self.judge(np.array([[found[label] for label in self.labels]]), [sent])
        else:
            several = self.random.choices(self.good, k=self.random.randint(1, 3))
            body, headers = tensor_request(np.stack([one.pixels for one in several]))
            data = await self.answered(session, self.infer, body, headers)
            values = np.frombuffer(data[-4 * len(several) * len(self.labels) :], "<f4")
            self.judge(values.reshape(len(several), -1), several)

    async def answered(self, session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> bytes:
        """Return the answer to a good request, sent again as often as the server is busy."""
        while True:
            async with session.post(url, data=body, headers=headers) as response:
                data = await response.read()
                if response.status == 200:
                    return data
                self.found[{503: "busy", 408: "late"}.get(response.status, "wrong")] += 1
            await asyncio.sleep(0.05)

    def judge(self, found: Floats, sent: list[Good]) -> None:
        """Compare the probabilities of a request's pictures with the model's own."""
        worst = float(np.abs(found - np.stack([one.probabilities for one in sent])).max())
        self.worst = max(self.worst, worst)
        self.found["right" if worst <= TOLERANCE else "wrong"] += 1

    async def hostile(self, session: aiohttp.ClientSession) -> None:
        """Send something hostile: the answer must be an error of the client's, or the server hangs up."""
        sent = self.random.choice(self.good)
        body, headers = tensor_request(sent.pixels[None])
        kinds: list[tuple[str, bytes, dict[str, str]]] = [
            ("/v1/classify", b"", {}),
            ("/v1/classify", os.urandom(1000), {}),
            ("/v1/classify", sent.jpeg[: len(sent.jpeg) // 2], {}),
            ("/v1/classify", b"0" * 20_000_001, {}),
            ("infer", body[:-1], headers),
            ("infer", body, {LENGTH: "9" * 30}),
            ("infer", body, {}),
            ("infer", b"[" * 100_000, {}),
            ("infer", b'{"inputs": [{"name": "pictures", "datatype": "UINT8", "shape": [1, 2], "data": [1]}]}', {}),
            ("cut", body, headers),
        ]
        path, data, more = self.random.choice(kinds)
        if path == "cut":
            await self.cut_off(data)
            return
        url = self.infer if path == "infer" else f"{self.url}{path}"
        while True:
            async with session.post(url, data=data, headers=more) as response:
                await response.read()
                if response.status not in (503, 408):
                    self.found["refused" if response.status in (400, 413) else "wrong"] += 1
                    return
            await asyncio.sleep(0.05)

    async def cut_off(self, body: bytes) -> None:
        """Announce a body and go away in the middle of it."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        path = self.infer.removeprefix(self.url)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:5000])
        await writer.drain()
        writer.close()
        self.found["cut off"] += 1


def main() -> None:
    """Send the requests and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, help="folder of JPEGs")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=86_400.0, help="end earlier, after so many seconds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    good, labels = good_ones(arguments.model, arguments.images)
    with serving("--engine", f"model={arguments.model}") as url:
        load = Load(url, "model", good, labels, arguments.seed)
        began = time.monotonic()
        asyncio.run(load.run(arguments.requests, arguments.seconds))
    found = load.found
    sent = sum(found[key] for key in ("right", "wrong", "refused", "cut off"))
    print(
        f"{sent} requests in {time.monotonic() - began:.0f} s: {found['right']} right (largest difference "
        f"{load.worst:.1e}), {found['refused']} hostile refused, {found['cut off']} cut off, {found['busy']} answered "
        f"503 and sent again, {found['hung up']} on which the server hung up and {found['late']} that "
        f"took over 10 s to arrive, sent again, {found['wrong']} wrong"
    )
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
