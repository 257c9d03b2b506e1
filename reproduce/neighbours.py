"""Figure 4, right: held-out pictures and the six training pictures whose last hidden layer is nearest to theirs.

Section 6.1: pictures whose 4,096-dimensional activations are close in Euclidean distance are similar to the network,
though their pixels are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.calibration.pictures import PicturePart, balanced, open_parts
from alexnet.errors import InputError
from alexnet.files import atomic_write, read_json, write_bytes
from alexnet.reproduce.page import Findings, data_digest, facts_of
from alexnet.runtime.backends import Backend, BackendOptions, open_backend
from alexnet.runtime.ensemble import with_features
from alexnet.runtime.retrieval.show import draw

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Count = Callable[[int, int | None], None]
PAPER = (
    "five test pictures and the six training pictures with the smallest Euclidean distance between their last hidden "
    "layers: in pixels they are generally not close, and they show the same thing in many poses (Figure 4, section 6.1)"
)
NEAREST = 6
# Pictures whose features are kept at once when a long run is stopped and goes on.
CHUNK, BATCH = 2048, 16


def reproduce_neighbours(
    path: Path, data: Path, queries: int, limit: int, seed: int, out: Path, count: Count
) -> Findings:
    """Return Figure 4 right of an ONNX model, for `queries` of the validation part drawn with `seed`.

    The training part, or `limit` pictures of it balanced by class, is searched whole. Features are kept under `out` as
    they come, so a run that was stopped goes on. Raises InputError for a run directory, which has no such output.
    """
    if path.is_dir():
        raise InputError(f"{path} is a run, and features come from a model: alexnet export {path} --onnx model.onnx")
    backend = open_backend(path, BackendOptions(features=True))
    parts = open_parts(data, backend.metadata, path)
    labels = backend.metadata.labels
    asked = balanced(parts.val.labels, queries, seed)
    among = balanced(parts.train.labels, limit, seed)
    searched = _kept(backend, parts.train, among, out, count)
    layers = _features(backend, parts.val.read(asked))
    distances = np.stack([np.linalg.norm(searched - layer, axis=1) for layer in layers])
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    same = [
        sum(int(parts.train.labels[among[place]] == parts.val.labels[query]) for place in row)
        for query, row in zip(asked, nearest, strict=True)
    ]
    number = sum(len(row) for row in nearest)
    chance = _chance(parts, asked, among)
    heads = ("query", "class", *(f"{place}. nearest" for place in range(1, nearest.shape[1] + 1)))
    table: list[tuple[str, ...]] = [heads]
    for at, (query, row) in enumerate(zip(asked, nearest, strict=True)):
        cells = [f"{labels[int(parts.train.labels[among[n]])]} ({distances[at, n]:.2f})" for n in row]
        table.append((parts.val.names[query], labels[int(parts.val.labels[query])], *cells))
    return Findings(
        name="neighbours",
        title="Figure 4, right: the nearest training pictures",
        paper=PAPER,
        ours=f"{sum(same)} of {number} neighbours are of the query's class, {chance:.0%} would be by chance; "
        f"{len(among):,} training pictures searched, {layers.shape[1]} features of the centre crop ({path})",
        table=table,
        values={"same_class": same, "searched": len(among), "features": int(layers.shape[1]), "chance": chance},
        picture=draw(
            parts.val.read(asked),
            [parts.train.read([among[n] for n in row]) for row in nearest],
            [labels[int(parts.val.labels[query])] for query in asked],
            [[labels[int(parts.train.labels[among[n]])] for n in row] for row in nearest],
        ),
        shown=f"{len(asked)} queries on the left, each with its {nearest.shape[1]} nearest training pictures, the "
        "nearest first",
        facts=facts_of(
            seed,
            ("onnxruntime",) if backend.name.startswith("onnxruntime") else (),
            weights=backend.metadata.checkpoint_sha256,
            data=data_digest(data, [parts.val.digest(place) for place in asked]),
            backend=f"{backend.name} on {backend.device}",
        ),
    )


def _chance(parts: Any, asked: Sequence[int], among: Sequence[int]) -> float:
    """Return the share of searched pictures that are of a query's class, on average over the queries."""
    found = parts.train.labels[np.asarray(among)]
    return float(np.mean([(found == parts.val.labels[query]).mean() for query in asked]))


def _features(backend: Backend, pictures: Pixels) -> Floats:
    """Return the last hidden layer [N, F] of pictures' centre crops."""
    from alexnet.runtime.classify import CENTRE

    found = []
    for first in range(0, len(pictures), BATCH):
        _, layer = with_features(backend).probabilities_and_features(pictures[first : first + BATCH])
        found.append(layer[:, min(CENTRE, layer.shape[1] - 1)])
    return np.concatenate(found)


def _kept(backend: Backend, part: PicturePart, places: Sequence[int], out: Path, count: Count) -> Floats:
    """Return the features [N, F] of pictures of a part, in chunks that are read back where they were kept before."""
    folder = out / "features"
    folder.mkdir(parents=True, exist_ok=True)
    made_of = {"weights": backend.metadata.checkpoint_sha256, "backend": backend.name, "places": list(places)}
    described = folder / "made-of.json"
    if not described.is_file() or read_json(described) != made_of:
        for stale in folder.glob("*.npy"):
            stale.unlink()
        write_bytes(described, json.dumps(made_of).encode())
    chunks = []
    for first in range(0, len(places), CHUNK):
        file = folder / f"{first:07d}.npy"
        if not file.is_file():
            rows = []
            for at in range(first, min(first + CHUNK, len(places)), BATCH):
                rows.append(_features(backend, part.read(places[at : min(at + BATCH, first + CHUNK)])))
                count(min(at + BATCH, len(places)), len(places))
            with atomic_write(file) as stream:
                np.save(stream, np.concatenate(rows))
        chunks.append(np.load(file, allow_pickle=False))
        count(min(first + CHUNK, len(places)), len(places))
    return np.concatenate(chunks)
