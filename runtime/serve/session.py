"""One call of `alexnet serve`: open the models, listen, answer until a signal comes, then end in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
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
from typing import Any

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

    from alexnet.runtime.serve.app import Api
    from alexnet.runtime.serve.batcher import Batcher, Batching
    from alexnet.runtime.serve.bodies import Bodies
    from alexnet.runtime.serve.connection import CONNECTIONS, BoundedConnection
    from alexnet.runtime.serve.metrics import Metrics
    from alexnet.runtime.serve.service import Model, Service
except ModuleNotFoundError as error:
    raise missing_package(str(error.name).partition(".")[0], "serve", "alexnet serve") from None

# What stands for a model in a path of the server.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ServeOptions:
    """What `alexnet serve` is asked for.

    `replicas` of each model; `largest_body` in bytes and `largest_picture` in pixels are the most that is taken;
    `drain` seconds are given to what is under way when a signal comes; without a `grpc_port` there is no gRPC.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    batching: Batching = field(default_factory=Batching)
    largest_body: int = 20_000_000
    largest_picture: int = LARGE
    drain: int = 30
    grpc_port: int | None = None


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

    Raises InputError when an address is taken, and what opening a model raises.
    """
    if options.grpc_port is not None:
        _check_grpc()
    if options.replicas > 1 and opened.threads is None:
        opened = replace(opened, threads=max(1, (os.cpu_count() or 1) // options.replicas))
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(_bound(options.host, options.port, "--port"))
        rpc = None
        if options.grpc_port is not None:
            rpc = sockets.enter_context(_bound(options.host, options.grpc_port, "--grpc-port"))
        runners: dict[str, list[Runner]] = {}
        try:
            for name, path in engines.items():
                verify_on_first_use(path, opened, report)
                runners[name] = []
                for _ in range(options.replicas):
                    backend = open_backend(path, opened, report if not runners[name] else None)
                    runners[name].append(_runner(backend, options.batching.batch))
            asyncio.run(_serve(engines, runners, listener, rpc, options))
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


def _check_grpc() -> None:
    """Raise MissingPackageError when gRPC is not installed."""
    try:
        importlib.import_module("alexnet.runtime.serve.grpc_server")
    except (ModuleNotFoundError, RuntimeError) as error:
        # tritonclient turns the error into another one.
        absent = error.__cause__ or error
        if not isinstance(absent, ModuleNotFoundError):
            raise
        package = str(absent.name).partition(".")[0]
        raise missing_package(package, "serve-grpc", "alexnet serve --grpc-port") from None


@contextmanager
def _bound(host: str, port: int, option: str) -> Iterator[socket.socket]:
    """Yield a socket at an address, to which nobody is let in yet; InputError when it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows TCP: without TCP_NODELAY each answer would wait 40 ms for the client to acknowledge.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {host} port {port}: {error.strerror or error}; give another --host or {option}"
            ) from None
        yield listener


async def _serve(
    engines: dict[str, Path],
    runners: dict[str, list[Runner]],
    listener: socket.socket,
    rpc: socket.socket | None,
    options: ServeOptions,
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
        service = Service(models, Bodies(options.largest_body), decoders, metrics, report)
        api = Api(service, options.largest_picture)
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
        addresses, beside = [f"http://{_address(listener)}"], []
        server = uvicorn.Server(config)
        if rpc:
            addresses.append(f"grpc://{_address(rpc)}")
            beside.append(_drained(server, await _listening(service, rpc), options.drain))
        with _signals_expected():
            await asyncio.gather(server.serve([listener]), _announce(server, addresses, list(engines)), *beside)
        for model in models.values():
            await model.batcher.close()
    report("the server has ended")


async def _listening(service: Service, held: socket.socket) -> Any:
    """Return the gRPC server, which listens at the address that a socket has held for it: it takes no socket."""
    from alexnet.runtime.serve.grpc_server import listening

    address = _address(held)
    held.close()
    return await listening(service, address)


async def _drained(server: uvicorn.Server, beside: Any, seconds: int) -> None:
    """End the gRPC server when the HTTP server begins to end: its calls under way are given `seconds` as well."""
    while not server.should_exit:
        await asyncio.sleep(0.05)
    await beside.stop(seconds)


async def _announce(server: uvicorn.Server, addresses: list[str], names: list[str]) -> None:
    """Say where the server is once it listens."""
    while not (server.started or server.should_exit):
        await asyncio.sleep(0.01)
    click.echo(f"{'  '.join(addresses)}  ({', '.join(names)}; Ctrl-C ends it)")


def _address(listener: socket.socket) -> str:
    """Return the address of a socket, HOST:PORT."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


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
