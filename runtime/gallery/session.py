"""One call of `alexnet gallery`: open the model, take in the neighbours, serve until told to stop."""

from __future__ import annotations

import signal
import sys
import threading
import webbrowser
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import click

from alexnet.errors import InputError
from alexnet.progress import counted, report
from alexnet.runtime.backends import Backend, BackendOptions
from alexnet.runtime.ensemble import open_engines
from alexnet.runtime.gallery.gallery import Gallery
from alexnet.runtime.gallery.neighbours import Neighbours, index_pictures
from alexnet.runtime.gallery.server import GalleryServer
from alexnet.runtime.inputs import picture_paths
from alexnet.runtime.verify import verify_on_first_use


@dataclass(frozen=True)
class GalleryOptions:
    """Where a gallery listens (`port` 0 takes a free one), whether its page is opened and progress shown."""

    host: str = "127.0.0.1"
    port: int = 0
    browser: bool = False
    quiet: bool = False


def serve_gallery(engines: list[Path], arguments: list[str], options: GalleryOptions, opened: BackendOptions) -> None:
    """Serve the gallery of a model, with the pictures that `arguments` name as neighbours, until SIGINT or SIGTERM.

    Raises InputError when a path is missing or the address is taken, and what opening a model raises.
    """
    paths = picture_paths(arguments, sys.stdin.buffer) if arguments else None
    if paths is not None and any(engine.suffix.lower() != ".onnx" for engine in engines):
        raise InputError(
            "a plan gives no hidden layer, so it has no neighbours: leave the pictures out, or give the ONNX model"
        )
    for engine in engines:
        verify_on_first_use(engine, opened, report)
    backend = open_engines(engines, replace(opened, features=paths is not None), None)
    try:
        neighbours = None
        if paths is not None:
            with counted("looking at the pictures", options.quiet) as count:
                neighbours = index_pictures(backend, paths, report, count)
        _serve(backend, neighbours, options)
    finally:
        backend.close()


def _serve(backend: Backend, neighbours: Neighbours | None, options: GalleryOptions) -> None:
    """Listen until a signal comes, then close."""
    server = GalleryServer(Gallery(backend, neighbours), options.host, options.port)
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        number = len(neighbours.paths) if neighbours else 0
        click.echo(f"{server.url}  ({number:,} pictures to be neighbours; Ctrl-C ends it)")
        if options.browser:
            webbrowser.open(server.url)
        ended.wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        # Last, so that a second signal (`timeout` sends two) does not break off the closing.
        for signalled, handler in before.items():
            signal.signal(signalled, handler)
    click.echo("the gallery is closed", err=True)
