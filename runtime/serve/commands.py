"""The command `alexnet serve`."""

from __future__ import annotations

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.options import backend_options


@click.command(
    epilog="""\b
Examples:
  alexnet serve --engine model.onnx
  alexnet serve --engine model.onnx --engine other=runs/model.plan --port 9000 --replicas 2
  curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/classify
  alexnet serve --engine model.onnx --grpc-port 8001
"""
)
@click.option(
    "--engine",
    "engines",
    required=True,
    multiple=True,
    metavar="[NAME=]PATH",
    help="Model: a .onnx file or a plan with its sidecar, called NAME or as the file; repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; another lets others in.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on; 0: a free one."
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Port to listen on for gRPC; 0: a free one. Without it there is no gRPC.",
)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures in a batch at most.")
@click.option(
    "--delay",
    type=click.FloatRange(min=0, max=10_000),
    default=2.0,
    show_default=True,
    help="Milliseconds that the first picture of a batch waits for others.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Pictures of a model that may wait or run; past it the answer is 503.",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Copies of each model; they share the cores unless --threads is given.",
)
@click.option(
    "--largest-body", type=click.IntRange(min=1), default=20, show_default=True, help="Megabytes of a request at most."
)
@click.option(
    "--largest-picture",
    type=click.IntRange(min=1, max=100),
    default=25,
    show_default=True,
    help="Megapixels of a picture at most.",
)
@click.option(
    "--drain",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Seconds that requests under way are given when SIGTERM comes.",
)
@backend_options
def serve(
    engines: tuple[str, ...],
    host: str,
    port: int,
    grpc_port: int | None,
    batch: int,
    delay: float,
    queue: int,
    replicas: int,
    largest_body: int,
    largest_picture: int,
    drain: int,
    backend: BackendOptions,
) -> None:
    """Serve models over HTTP: the Open Inference Protocol v2 (--grpc-port: over gRPC too), POST /v1/classify, /metrics.

    Requests that come together are run together. Ctrl-C or SIGTERM ends it once what is under way is answered. The
    paths and the limits: docs/serving.md.
    """
    from alexnet.runtime.serve.batcher import Batching
    from alexnet.runtime.serve.session import ServeOptions, named_engines, serve_models

    options = ServeOptions(
        host,
        port,
        replicas,
        Batching(batch, delay / 1000, queue),
        largest_body * 1_000_000,
        largest_picture * 1_000_000,
        drain,
        grpc_port,
    )
    serve_models(named_engines(engines), options, backend)
