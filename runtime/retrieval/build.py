"""One index, from a model and pictures to a folder: features, then the graph; what is there already is kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from alexnet import __version__
from alexnet.errors import InputError, Interrupted
from alexnet.files import read_json, write_bytes, write_json
from alexnet.progress import Count
from alexnet.runtime.backends import Backend, BackendOptions, Floats, open_backend
from alexnet.runtime.classify import DEFAULT_BATCH, Features
from alexnet.runtime.retrieval.approximate import build_graph, import_usearch
from alexnet.runtime.retrieval.collection import Collection, open_collection
from alexnet.runtime.retrieval.folder import (
    FEATURES,
    FORMAT,
    GRAPH,
    MANIFEST,
    PICTURES,
    PLAN,
    Manifest,
    model_digest,
)
from alexnet.runtime.retrieval.stream import skipped_places, stream_features

Say = Callable[[str], None]
Counted = Callable[[str], AbstractContextManager[Count]]


@dataclass(frozen=True)
class IndexOptions:
    """What `alexnet index` is asked for: a `part` of prepared data, features `of` the mean over the crops or the centre
    one, `batch` pictures at once, and whether the `approximate` graph is built."""

    part: str | None = None
    of: Features = "mean"
    batch: int = DEFAULT_BATCH
    approximate: bool = True


def build_index(
    model: Path, data: Path, out: Path, options: IndexOptions, opened: BackendOptions, say: Say, counted: Counted
) -> Manifest:
    """Index the pictures of `data` by the last hidden layer of `model` into the folder `out`, and return its manifest.

    A folder that an earlier call left, killed or finished, is gone on with: only what it lacks is made. Raises
    InputError when it holds another index or another process works on it, MissingPackageError before anything is
    computed when usearch is wanted and not installed, and Interrupted on Ctrl-C.
    """
    digest = model_digest(model)
    if options.approximate:
        import_usearch("--no-approximate")
    with held(out):
        backend = open_backend(model, replace(opened, features=True), say if opened.name or opened.precision else None)
        try:
            collection = open_collection(data, options.part, backend.metadata.preprocessing, model)
            plan = {
                "format": FORMAT,
                "model_sha256": digest,
                "data_digest": collection.digest,
                "part": collection.part,
                "features_of": options.of,
                "precision": backend.precision,
            }
            _agree(out, plan)
            with counted("features") as count:
                stream_features(backend, collection, options.of, options.batch, out, say, count)
            return _finish(model, digest, backend, collection, options, out, counted)
        except KeyboardInterrupt:
            raise Interrupted(f"stopped; the same command goes on with {out}") from None
        finally:
            backend.close()


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Make the folder and keep other processes from it meanwhile; InputError where that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{out} is being written by another process; wait for it, or give another folder") from None
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}; give another folder with -o") from None


def open_features(folder: Path) -> Floats:
    """Return the features float32 [N, F] of an index, mapped into memory."""
    try:
        features: Floats = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / FEATURES} cannot be read: {error}; index again") from None
    return features


def _agree(out: Path, plan: dict[str, Any]) -> None:
    """Write the plan of a new index; InputError when the folder holds something else."""
    if (out / PLAN).is_file():
        found = read_json(out / PLAN)
        differing = [key for key in plan if found.get(key) != plan[key]]
        if differing:
            raise InputError(
                f"{out} holds an index of another {' and another '.join(_WORDS[key] for key in differing)}; "
                "give another folder with -o, or remove that one"
            )
    elif any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out} holds other files; give a new folder with -o")
    else:
        write_json(out / PLAN, plan)


_WORDS = {
    "format": "format",
    "model_sha256": "model",
    "data_digest": "data set",
    "part": "part of the data",
    "features_of": "choice of crops (--features-of)",
    "precision": "precision",
}


def _finish(
    model: Path,
    digest: str,
    backend: Backend,
    collection: Collection,
    options: IndexOptions,
    out: Path,
    counted: Counted,
) -> Manifest:
    """Write names and classes, the graph where it is asked for and not there, and the manifest last."""
    before = Manifest.load(out) if (out / MANIFEST).is_file() else None
    features, skipped = open_features(out), skipped_places(out)
    left_out = set(skipped)
    kept = [place for place in range(len(collection.names)) if place not in left_out]
    pictures = {
        "names": [collection.names[place] for place in kept],
        "classes": [collection.classes[place] for place in kept],
    }
    # Escaped, because a file's name may be no UTF-8.
    write_bytes(out / PICTURES, json.dumps(pictures).encode())
    approximate = before.approximate if before else None
    if options.approximate and approximate is None:
        with counted("approximate index") as count:
            approximate = build_graph(features, out / GRAPH, count)
    packages = ("numpy", *(("onnxruntime",) if backend.name == "onnxruntime-cpu" else ()))
    made = Manifest(
        model={
            "path": str(model.resolve()),
            "sha256": digest,
            "checkpoint_sha256": backend.metadata.checkpoint_sha256,
        },
        data={
            "path": str(collection.data.resolve()),
            "part": collection.part,
            "digest": collection.digest,
            "pictures": len(collection.names),
        },
        features={
            "of": options.of,
            "length": features.shape[1],
            "rows": features.shape[0],
            "skipped": skipped,
            "backend": backend.name,
            "precision": backend.precision,
        },
        approximate=approximate,
        codes=before.codes if before else None,
        versions={"alexnet-toolchain": __version__, **{name: metadata.version(name) for name in packages}},
    )
    made.save(out)
    return made
