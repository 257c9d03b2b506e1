"""Approximate neighbours and binary codes against the exact search, and codes against random hyperplanes, in one run.

    python benchmarks/retrieval.py model.onnx data/cifar10 --work build/retrieval [--queries 1000]

The training part is indexed and pictures of the validation part, evenly spaced, are the queries. Features, graph and
encoders are kept in --work: the same command goes on where it was stopped, and then only measures. Recall@10 is the
share of the ten exactly nearest pictures that are found; label precision@10 the share of the ten found that have the
query's class. Bytes are of what a search reads for each picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.files import atomic_write
from alexnet.prepared import PreparedPart, open_prepared_part, read_index
from alexnet.progress import counted
from alexnet.reproduce.autoencoder import AutoencoderOptions, train_autoencoder
from alexnet.runtime.backends import BackendOptions, Floats, open_backend
from alexnet.runtime.benchmark.machine import cores, machine
from alexnet.runtime.benchmark.timing import Limit, Subject, ratio, take_turns
from alexnet.runtime.ensemble import with_features
from alexnet.runtime.gallery.neighbours import nearest_rows
from alexnet.runtime.retrieval.build import IndexOptions, build_index
from alexnet.runtime.retrieval.codes import Codes, Encoder, load_codes, nearest_codes, save_codes
from alexnet.runtime.retrieval.search import Index

TOP, BITS, BATCH = 10, (128, 256), 64
# What the goal compares with: float32 features of the paper's last hidden layer.
PAPER_BYTES, SHARE, GOAL = 4096 * 4, 0.80, "codes, 256 bits"
# The queries of each method in one round: the exact search takes tens of milliseconds each.
EXACT, EXACT_QUERIES, QUERIES = "exact", 3, 60
Nearest = Callable[[Floats], list[tuple[int, float]]]


def layers_of(model: Path, part: PreparedPart, places: Sequence[int], path: Path) -> Floats:
    """Return the last hidden layer [Q, F], the mean over the crops, of pictures of a part; kept in a file."""
    if not path.is_file():
        backend, found = open_backend(model, BackendOptions(features=True)), []
        answers = with_features(backend).probabilities_and_features
        with counted("queries") as count:
            for at in range(0, len(places), BATCH):
                pictures = part.pictures[list(places[at : at + BATCH])]
                found.append(answers(pictures)[1].mean(axis=1, dtype=np.float64))
                count(at + len(pictures), len(places))
        backend.close()
        with atomic_write(path) as file:
            np.save(file, np.concatenate(found).astype(np.float32))
    layers: Floats = np.load(path, allow_pickle=False)
    return layers


def truth(features: Floats, queries: Floats) -> npt.NDArray[np.int64]:
    """Return the rows [Q, TOP] exactly nearest to each query, in float64 by a matrix product, block by block."""
    asked, blocks = queries.astype(np.float64), [features[at : at + 4096] for at in range(0, len(features), 4096)]
    squares = np.concatenate([np.square(block, dtype=np.float64).sum(axis=1) for block in blocks])
    products = np.concatenate([asked @ block.T.astype(np.float64) for block in blocks], axis=1)
    rows: npt.NDArray[np.int64] = np.argsort(squares - 2 * products, axis=1, kind="stable")[:, :TOP]
    return rows


def trained(features: Floats, bits: int, path: Path) -> tuple[Encoder, Codes]:
    """Return the encoder of `bits` and the codes of all rows; kept in a file."""
    if not path.is_file():
        with counted(f"training {bits} bits") as count:
            encoder = train_autoencoder(features, AutoencoderOptions(bits=bits), count).encoder
        save_codes(path, encoder, encoder.encode_all(features, lambda done, total: None))
    return load_codes(path, len(features), features.shape[1], bits)


def hyperplanes(features: Floats, bits: int) -> tuple[Callable[[Floats], Codes], Codes]:
    """Return an encoder by the signs of random projections of centred features, and the codes of all rows."""
    planes = np.random.default_rng(0).normal(size=(features.shape[1], bits)).astype(np.float32)
    centre = np.mean(features, axis=0, dtype=np.float64).astype(np.float32)

    def encode(rows: Floats) -> Codes:
        return np.packbits((rows - centre) @ planes > 0, axis=1)

    return encode, encode(features)


def by_codes(encode: Callable[[Floats], Codes], codes: Codes) -> Nearest:
    """Return the search by Hamming distance, encoding included."""
    return lambda layer: nearest_codes(codes, encode(layer[None])[0], TOP)


def subject(name: str, nearest: Nearest, queries: Floats) -> Subject:
    """Return what takes turns: queries [Q, F], one after another."""
    return Subject(name, lambda: [nearest(layer) for layer in queries], len(queries))


def methods_of(index: Index, features: Floats, work: Path) -> dict[str, tuple[Nearest, float]]:
    """Return each search by its name, with the bytes of a picture that it reads."""
    assert index.manifest.approximate is not None
    row = float(features.shape[1] * features.itemsize)
    graph = index.manifest.approximate["bytes"] / len(features)
    found: dict[str, tuple[Nearest, float]] = {
        EXACT: (lambda layer: nearest_rows(features, layer, TOP), row),
        "approximate": (lambda layer: index.graph.nearest(layer, TOP), graph + row),
    }
    for bits in BITS:
        encoder, codes = trained(features, bits, work / f"codes-{bits}.safetensors")
        found[f"codes, {bits} bits"] = by_codes(encoder.encode, codes), bits / 8
        found[f"random hyperplanes, {bits} bits"] = by_codes(*hyperplanes(features, bits)), bits / 8
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="prepared data")
    parser.add_argument("--work", type=Path, default=Path("build/retrieval"))
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    out = given.work / "index"
    build_index(given.model, given.data, out, IndexOptions(batch=BATCH), BackendOptions(), print, counted)
    index, described = Index(out), read_index(given.data)
    part = open_prepared_part(given.data, described, "val")
    places = range(0, len(part.names), max(1, len(part.names) // given.queries))
    queries = layers_of(given.model, part, places, given.work / f"queries-{len(places)}.npy")
    wanted = np.array([described["classes"][part.labels[place]] for place in places])
    features, classes = np.array(index.features), np.array(index.classes)
    methods, exact = methods_of(index, features, given.work), truth(features, queries)
    subjects = {
        name: subject(name, nearest, queries[: EXACT_QUERIES if name == EXACT else QUERIES])
        for name, (nearest, _) in methods.items()
    }
    take_turns(list(subjects.values()), Limit(rounds=given.rounds))
    print(f"{machine()['processor']}, {cores()} cores; {len(features):,} pictures, {len(queries):,} queries")
    print("| search | recall@10 | label precision@10 | of exact | queries/s | against exact | bytes a picture |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    shares = {}
    for name, (nearest, size) in methods.items():
        found = exact if name == EXACT else np.array([[row for row, _ in nearest(layer)] for layer in queries])
        both = zip(found.tolist(), exact.tolist(), strict=True)
        recall = float(np.mean([len(set(here) & set(there)) / TOP for here, there in both]))
        precision = float(np.mean(classes[found] == wanted[:, None]))
        shares[name] = precision / float(np.mean(classes[exact] == wanted[:, None]))
        speed = f"{subjects[name].rate:,.0f} | {ratio(subjects[EXACT], subjects[name])}"
        print(f"| {name} | {recall:.1%} | {precision:.1%} | {shares[name]:.1%} | {speed} | {size:,.0f} |")
    checked = [{row for row, _ in nearest_rows(features, layer, TOP)} for layer in queries[:20]]
    same = sum(here == set(there) for here, there in zip(checked, exact[:20].tolist(), strict=True))
    print(f"the exact search finds the ten of a float64 matrix product for {same} of {len(checked)} queries")
    name, size = GOAL, methods[GOAL][1]
    said = "reached" if shares[name] >= SHARE and size * 512 <= PAPER_BYTES else "missed"
    print(
        f"goal, {SHARE:.0%} of the exact search's label precision at 1/512 of {PAPER_BYTES:,} bytes: {said} by {name}"
    )


if __name__ == "__main__":
    main()
