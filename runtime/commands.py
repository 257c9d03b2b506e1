"""The commands `alexnet infer` and `alexnet doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, cast

import click

from alexnet.runtime.backends.interface import BackendOptions
from alexnet.runtime.cluster.options import LOCAL, ClusterOptions, addressed
from alexnet.runtime.options import backend_options, engines_option


@click.command(
    epilog="""\b
Examples:
  alexnet infer --engine model.onnx images/
  alexnet infer --engine a.onnx --engine b.onnx photo.jpg 'scans/**/*.png' --top 3
  find photos -name '*.jpg' -print0 | alexnet infer --engine model.onnx --jsonl -o answers.jsonl --resume -
  alexnet infer --engine model.onnx images/ --csv --features features.npy
  alexnet infer --engine model.onnx --ray shards/ -o results --workers 2 --cores-per-worker 4
"""
)
@engines_option
@click.argument("paths", metavar="PATHS...", nargs=-1)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Classes to print for each picture.",
)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures in a batch.")
@click.option("--crops", type=click.Choice(["ten", "one"]), help="End unless the engines average so many crops.")
@click.option("--json", "form", flag_value="json", help="Print one JSON document.")
@click.option("--jsonl", "form", flag_value="jsonl", help="Print a JSON object a line for each picture as it comes.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV: path,rank,label,probability,error.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File for the results, not standard output; with --ray a folder.",
)
@click.option("--resume", is_flag=True, help="Go on with the --csv or --jsonl file, or --ray's folder, of -o.")
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="File for the last hidden layer of each picture: .npy, or .parquet.",
)
@click.option(
    "--features-of",
    type=click.Choice(["mean", "centre"]),
    default="mean",
    show_default=True,
    help="Features: the mean over the crops, or the centre crop's.",
)
@click.option("--scaled-decoding", "scaled", is_flag=True, help="Decode large JPEGs at a fraction: docs/inference.md.")
@click.option("--gpu-decoding", is_flag=True, help="Decode JPEGs on the GPU, by nvImageCodec (extra gpu-decoding).")
@click.option("--strict", is_flag=True, help="End at the first picture that cannot be classified, with exit code 4.")
@click.option("--quiet", is_flag=True, help="No progress and no summary on standard error.")
@click.option(
    "--ray",
    "address",
    is_flag=False,
    flag_value=LOCAL,
    metavar="[ADDRESS]",
    help="Many workers (extra ray), Parquet or --jsonl to the folder -o: docs/ray.md. HOST:PORT or auto is a Ray "
    "cluster that runs; without one, this machine.",
)
@click.option("--workers", type=click.IntRange(min=1), help="With --ray: workers  [default: as many as there is room]")
@click.option(
    "--cores-per-worker",
    "cores",
    type=click.IntRange(min=1),
    help="With --ray: cores of each  [default: a GPU each, 4 cores without]",
)
@backend_options
def infer(
    engines: tuple[Path, ...],
    paths: tuple[str, ...],
    form: str | None,
    backend: BackendOptions,
    address: str | None,
    workers: int | None,
    cores: int | None,
    **rest: Any,
) -> None:
    """Classify pictures: PATHS are files, folders, quoted patterns, and - for a list of paths on standard input.

    Folders are walked in sorted order, lists are separated by newlines or NULs. Results go to standard output or -o, in
    the order of the pictures, progress and reports to standard error. A picture that cannot be decoded is reported and
    counted, and the others are classified.
    """
    from dataclasses import replace

    from alexnet.runtime.session import InferOptions, infer_paths

    if address is not None:
        address, paths = addressed(address, paths)
    if not paths:
        raise click.UsageError("Missing argument 'PATHS...'.")
    if address is not None:
        from alexnet.runtime.cluster.session import infer_on_ray

        asked = ClusterOptions.asked(form, address=address, workers=workers, cores=cores, **rest)
        infer_on_ray(list(engines), list(paths), asked, backend)
        return
    if workers or cores:
        raise click.UsageError("--workers and --cores-per-worker go with --ray.")
    options = InferOptions(form=cast(Literal["table", "csv", "json", "jsonl"], form or "table"), **rest)
    infer_paths(list(engines), list(paths), options, replace(backend, features=options.features is not None))


@click.command(
    epilog="""\b
Examples:
  alexnet doctor
  alexnet doctor --json
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed here, what each stage needs, and what stands in the way."""
    from dataclasses import asdict

    from alexnet.runtime.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        click.echo(f"{finding.subject:{width}}  {finding.found}")
        if finding.advice:
            click.echo(f"{'':{width}}  -> {finding.advice}")
