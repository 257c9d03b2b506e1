"""Searching an index: a picture's last hidden layer, and the rows nearest to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alexnet.errors import InputError, ModelError, PictureError
from alexnet.files import atomic_write, read_json
from alexnet.pictures import Preprocessing, load_picture
from alexnet.runtime.backends import Backend, BackendOptions, Floats, open_backend
from alexnet.runtime.classify import classify
from alexnet.runtime.gallery.neighbours import nearest_rows
from alexnet.runtime.retrieval.approximate import Graph
from alexnet.runtime.retrieval.build import open_features
from alexnet.runtime.retrieval.codes import Codes, Encoder, load_codes, nearest_codes
from alexnet.runtime.retrieval.collection import open_collection
from alexnet.runtime.retrieval.folder import CODES, GRAPH, PICTURES, Manifest, model_digest
from alexnet.runtime.retrieval.show import draw

Method = Literal["approximate", "exact", "codes"]


@dataclass(frozen=True)
class Found:
    """One picture of the index: its row and name, its class where one is known, and how far it is from the query.

    The distance is Euclidean, between last hidden layers, or the number of bits that differ, between codes.
    """

    row: int
    name: str
    label: str | None
    distance: float


class Index:
    """A finished index; what a method needs is read when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, Manifest.load(folder)
        pictures = read_json(folder / PICTURES)
        self.names: list[str] = pictures["names"]
        self.classes: list[str | None] = pictures["classes"]
        if not len(self.names) == len(self.classes) == self.manifest.features["rows"]:
            raise InputError(f"{folder / PICTURES} is not of the manifest beside it; index again")

    @cached_property
    def features(self) -> Floats:
        """The features float32 [N, F], mapped into memory."""
        features, said = open_features(self.folder), self.manifest.features
        if features.shape != (said["rows"], said["length"]):
            raise InputError(f"{self.folder} holds features {features.shape}, its manifest says otherwise; index again")
        return features

    @cached_property
    def graph(self) -> Graph:
        """The approximate index; InputError when there is none."""
        if self.manifest.approximate is None:
            raise InputError(f"{self.folder} has no approximate index; search with --exact, or index again with one")
        return Graph(self.folder / GRAPH, self.features, self.manifest.approximate)

    @cached_property
    def codes(self) -> tuple[Encoder, Codes]:
        """The encoder and the codes uint8 [N, bits / 8]; InputError when there are none."""
        made, said = self.manifest.codes, self.manifest.features
        if made is None:
            raise InputError(f"{self.folder} has no codes; add them: alexnet index MODEL DATA --codes 128 -o INDEX")
        return load_codes(self.folder / CODES, said["rows"], said["length"], made["bits"])

    def ready(self, asked: Method | None) -> Method:
        """Return the method that is meant by none, and open what it needs, so that what is missing is said early."""
        method = asked or ("exact" if self.manifest.approximate is None else "approximate")
        match method:
            case "exact":
                _ = self.features
            case "approximate":
                _ = self.graph
            case "codes":
                _ = self.codes
        return method

    def nearest(self, layer: Floats, number: int, method: Method) -> list[Found]:
        """Return the `number` pictures nearest to a last hidden layer [F], the nearest first."""
        match method:
            case "exact":
                rows = nearest_rows(self.features, layer, number)
            case "approximate":
                rows = self.graph.nearest(layer, number)
            case "codes":
                encoder, codes = self.codes
                rows = nearest_codes(codes, encoder.encode(layer[None])[0], number)
        return [Found(row, self.names[row], self.classes[row], distance) for row, distance in rows]

    def check_model(self, model: Path) -> None:
        """Raise ModelError unless a model is the one whose features stand in the index; InputError when it is gone."""
        if not model.exists():
            raise InputError(f"{model}, by which {self.folder} was made, is not there; say where it is with --engine")
        found, made = model_digest(model), self.manifest.model["sha256"]
        if found != made:
            raise ModelError(
                f"{model} is not the model of {self.folder} (sha256 {found[:12]}, made with {made[:12]}): their "
                f"features do not compare; give that model with --engine, or index again with this one"
            )


@dataclass(frozen=True)
class Searched:
    """The answer to one search: for each of `pictures` what was `found` in the index by `method`.

    `preprocessing` is the model's.
    """

    index: Index
    method: Method
    pictures: tuple[Path, ...]
    found: list[list[Found]]
    preprocessing: Preprocessing

    def to_values(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "index": str(self.index.folder),
            "pictures": len(self.index.names),
            "method": self.method,
            "data": self.index.manifest.data["path"],
            "model_sha256": self.index.manifest.model["sha256"],
            "queries": [
                {
                    "path": str(path),
                    "nearest": [
                        {"rank": rank, "name": entry.name, "class": entry.label, "distance": entry.distance}
                        for rank, entry in enumerate(row, start=1)
                    ],
                }
                for path, row in zip(self.pictures, self.found, strict=True)
            ],
        }


def search(
    folder: Path, pictures: tuple[Path, ...], top: int, asked: Method | None, model: Path | None, opened: BackendOptions
) -> Searched:
    """Return for each picture the `top` nearest of the index in a folder.

    The method `asked` None is the approximate one, or the exact one where there is no graph.
    `model` is where the index's model is now, None where it was. Raises PictureError for a picture that cannot be
    decoded, ModelError for another model than the index's, InputError for a folder that is no finished index.
    """
    index = Index(folder)
    method = index.ready(asked)
    path = model or Path(index.manifest.model["path"])
    index.check_model(path)
    backend = open_backend(path, replace(opened, features=True))
    try:
        layers = _layers(backend, pictures, index.manifest)
    finally:
        backend.close()
    found = [index.nearest(layer, top, method) for layer in layers]
    return Searched(index, method, pictures, found, backend.metadata.preprocessing)


def _layers(backend: Backend, pictures: tuple[Path, ...], manifest: Manifest) -> list[Floats]:
    """Return the last hidden layer [F] of each picture."""
    layers = []
    for result in classify(backend, pictures, top=1, features=manifest.features["of"]):
        if result.error is not None:
            raise PictureError(result.error)
        assert result.features is not None
        layers.append(result.features)
    return layers


def show(searched: Searched, out: Path) -> None:
    """Write a PNG of each picture with what was found for it.

    Raises InputError when the indexed pictures are not where they were, or are others by now.
    """
    manifest, preprocessing = searched.index.manifest, searched.preprocessing
    data = Path(manifest.data["path"])
    collection = open_collection(data, manifest.data["part"], preprocessing, Path(manifest.model["path"]))
    if collection.digest != manifest.data["digest"]:
        raise InputError(
            f"{data} is not what was indexed into {searched.index.folder}; index it again, or leave --show out"
        )
    places = np.delete(np.arange(manifest.data["pictures"]), manifest.features["skipped"])
    figure = draw(
        [load_picture(path, preprocessing) for path in searched.pictures],
        [[collection.read(int(places[entry.row])) for entry in row] for row in searched.found],
        [path.name for path in searched.pictures],
        [[entry.label or "" for entry in row] for row in searched.found],
    )
    with atomic_write(out) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
