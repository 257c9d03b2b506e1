"""One call of `alexnet serve`: open the models, listen, answer until a signal comes, then end in order."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import numpy as np

from alexnet.errors import InputError, missing_package
from alexnet.pictures import LARGE
from alexnet.progress import report
from alexnet.runtime.backends import Backend, BackendOptions, open_backend
from alexnet.runtime.classify import Runner, check_finite
from alexnet.runtime.verify import verify_on_first_use

try:
    import uvicorn

    from alexnet.runtime.serve.app import Api, Model
    from alexnet.runtime.serve.batcher import Batcher, Batching
    from alexnet.runtime.serve.bodies import Bodies
    from alexnet.runtime.serve.connection import CONNECTIONS, BoundedConnection
    from alexnet.runtime.serve.metrics import Metrics
except ModuleNotFoundError as error:
    raise missing_package(str(error.name).partition(".")[0], "serve", "alexnet serve") from None

# What stands for a model in a path of the server.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ServeOptions:
    """What `alexnet serve` is asked for.

    `replicas` of each model; `largest_body` in bytes and `largest_picture` in pixels are the most that is taken;
    `drain` seconds are given to what is under way when a signal comes.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    batching: Batching = field(default_factory=Batching)
    largest_body: int = 20_000_000
    largest_picture: int = LARGE
    drain: int = 30


def named_engines(arguments: Iterable[str]) -> dict[str, Path]:
    """Return the models by name: those of NAME=PATH, or of the file without its suffix; InputError for a bad name."""
    found: dict[str, Path] = {}
    for argument in arguments:
        given, equals, rest = argument.partition("=")
        path = Path(rest) if equals and NAME.fullmatch(given) and not Path(argument).exists() else Path(argument)
        name = given if path == Path(rest) else path.stem
        if not NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot be a model's name, expected letters, digits, dots, - and _; name it with: "
                f"--engine NAME={path}"
            )
        if name in found:
            raise InputError(f"{found[name]} and {path} are both called {name}; name one with: --engine OTHER={path}")
        found[name] = path
    return found


def serve_models(engines: dict[str, Path], options: ServeOptions, opened: BackendOptions) -> None:
    """Serve models by name until SIGINT or SIGTERM, and answer what is under way then.

    Raises InputError when the address is taken, and what opening a model raises.
    """
    if options.replicas > 1 and opened.threads is None:
        opened = replace(opened, threads=max(1, (os.cpu_count() or 1) // options.replicas))
    with _listening(options) as listener:
        runners: dict[str, list[Runner]] = {}
        try:
            for name, path in engines.items():
                verify_on_first_use(path, opened, report)
                runners[name] = []
                for _ in range(options.replicas):
                    backend = open_backend(path, opened, report if not runners[name] else None)
                    runners[name].append(_runner(backend, options.batching.batch))
            asyncio.run(_serve(engines, runners, listener, options))
        finally:
            for runner in (runner for replicas in runners.values() for runner in replicas):
                runner.backend.close()


def _runner(backend: Backend, batch: int) -> Runner:
    """Return what runs a backend, once it has answered a batch: a model that does not run is found before listening."""
    runner = Runner(backend, min(batch, backend.largest_batch or batch), None, report)
    side = backend.metadata.preprocessing.side
    answers, _ = runner.answers(np.zeros((runner.size, side, side, 3), dtype=np.uint8))
    check_finite(answers, backend.metadata.name)
    return runner


@contextmanager
def _listening(options: ServeOptions) -> Iterator[socket.socket]:
    """Yield a socket at the address, to which nobody is let in yet; InputError when it is not to be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # By its protocol asyncio knows TCP: without TCP_NODELAY each answer would wait 40 ms for the client to acknowledge.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {options.host} port {options.port}: {error.strerror or error}; give another "
                "--host or --port"
            ) from None
        yield listener


async def _serve(
    engines: dict[str, Path], runners: dict[str, list[Runner]], listener: socket.socket, options: ServeOptions
) -> None:
    """Answer requests until a signal comes; then take no more, and answer those that are under way."""
    metrics = Metrics()
    models = {}
    for name, path in engines.items():
        # A model may take fewer pictures at once than were asked for.
        batching = replace(options.batching, batch=runners[name][0].size)
        batcher = Batcher(runners[name], batching, functools.partial(metrics.batch, name))
        metrics.watch(name, functools.partial(getattr, batcher, "held"))
        models[name] = Model(name, _platform(path), runners[name][0].backend, batcher)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decoder") as decoders:
        api = Api(models, Bodies(options.largest_body), decoders, metrics, options.largest_picture, report)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            api.application(),
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            backlog=CONNECTIONS,
            timeout_graceful_shutdown=options.drain,
        )
        with _signals_expected():
            server = uvicorn.Server(config)
            await asyncio.gather(server.serve([listener]), _announce(server, listener, list(engines)))
        for model in models.values():
            await model.batcher.close()
    report("the server has ended")


async def _announce(server: uvicorn.Server, listener: socket.socket, names: list[str]) -> None:
    """Say where the server is once it listens."""
    host, port = listener.getsockname()[:2]
    while not (server.started or server.should_exit):
        await asyncio.sleep(0.01)
    click.echo(f"http://{f'[{host}]' if ':' in host else host}:{port}  ({', '.join(names)}; Ctrl-C ends it)")


def _platform(path: Path) -> str:
    """Return a model's platform in the protocol's words."""
    return "onnx_onnxv1" if path.suffix.lower() == ".onnx" else "tensorrt_plan"


@contextmanager
def _signals_expected() -> Iterator[None]:
    """Let uvicorn, which raises the signal again once it has ended, raise one that does nothing."""
    nothing: Callable[..., None] = lambda number, frame: None  # noqa: E731
    before = {number: signal.signal(number, nothing) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
