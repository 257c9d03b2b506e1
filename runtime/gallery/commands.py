"""The command `alexnet gallery`."""

from __future__ import annotations

from pathlib import Path

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.options import backend_options, engines_option


@click.command(
    epilog="""\b
Examples:
  alexnet gallery --engine model.onnx images/
  alexnet gallery --engine model.onnx 'scans/**/*.png' --port 8000 --browser
  alexnet gallery --engine a.onnx --engine b.onnx
"""
)
@engines_option
@click.argument("paths", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; another lets others in.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on  [default: one that is free]")
@click.option("--browser", is_flag=True, help="Open the page in the default browser.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@backend_options
def gallery(
    engines: tuple[Path, ...],
    paths: tuple[str, ...],
    host: str,
    port: int,
    browser: bool,
    quiet: bool,
    backend: BackendOptions,
) -> None:
    """Open a local page on which pictures are dropped: it shows their crops, five classes and nearest neighbours.

    Neighbours are looked for among the pictures that PATHS name (files, folders, quoted patterns) by the last hidden
    layer; without PATHS, and for a plan, there are none. Pictures that are dropped stay in memory and are forgotten
    once they are answered. Ctrl-C or SIGTERM ends it.
    """
    from alexnet.runtime.gallery.session import GalleryOptions, serve_gallery

    serve_gallery(list(engines), list(paths), GalleryOptions(host, port, browser, quiet), backend)
