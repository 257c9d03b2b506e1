"""The approximate index: usearch's graph of nearest neighbours (HNSW), candidates of which are measured exactly.

usearch, because it is one small wheel without dependencies, keeps float16 rows, and searches a file mapped into memory.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from alexnet.errors import InputError, missing_package
from alexnet.files import atomic_write
from alexnet.progress import Count
from alexnet.runtime.backends import Floats
from alexnet.runtime.gallery.neighbours import nearest_rows

# Edges of a row in the graph, and rows looked at when one is added and when one is searched.
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 128, 128
SCALAR, LARGEST = "f16", float(np.finfo(np.float16).max)
# Rows added at once, and candidates measured exactly for each row that is wanted.
BLOCK, CANDIDATES = 1024, 4


def import_usearch(without: str) -> Any:
    """Return usearch's Index; MissingPackageError, naming the option to do `without`, when it is not installed."""
    try:
        from usearch.index import Index
    except ImportError:
        raise missing_package("usearch", "retrieval", f"the approximate index ({without} does without)") from None
    return Index


def build_graph(features: Floats, path: Path, count: Count) -> dict[str, Any]:
    """Write the graph over the rows of features [N, F] to `path` and return how it was made.

    Memory holds the graph: about 2 F + 150 bytes a row. Threads add rows, so two builds may differ in a few edges.
    Raises InputError when a feature is too large for float16.
    """
    graph = import_usearch("--no-approximate")(
        ndim=features.shape[1],
        metric="l2sq",
        dtype=SCALAR,
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
    for first in range(0, len(features), BLOCK):
        rows = np.array(features[first : first + BLOCK])
        if rows.max(initial=0.0) > LARGEST:
            raise InputError(
                f"features up to {rows.max():,.0f} were found, and the approximate index holds {LARGEST:,.0f} at most; "
                "index with --no-approximate"
            )
        graph.add(np.arange(first, first + len(rows)), rows)
        count(first + len(rows), len(features))
    with atomic_write(path) as file:
        graph.save(file.name)
    return {
        "library": f"usearch {metadata.version('usearch')}",
        "metric": "Euclidean",
        "scalar": SCALAR,
        "connectivity": CONNECTIVITY,
        "expansion": [EXPANSION_ADD, EXPANSION_SEARCH],
        "bytes": path.stat().st_size,
    }


class Graph:
    """A graph that is mapped into memory, over the features that it was built of."""

    def __init__(self, path: Path, features: Floats, described: dict[str, Any]) -> None:
        index = import_usearch("--exact")
        if not path.is_file() or path.stat().st_size != described["bytes"]:
            raise InputError(f"{path} is missing or has another size than the manifest says; index again, or --exact")
        try:
            self.graph = index.restore(str(path), view=True)
        except Exception as error:
            raise InputError(
                f"{path} cannot be opened by usearch ({error}); index again, or search with --exact"
            ) from None
        if self.graph is None or (self.graph.ndim, len(self.graph)) != (features.shape[1], len(features)):
            raise InputError(f"{path} is not over the features beside it; index again, or search with --exact")
        self.features = features

    def nearest(self, wanted: Floats, number: int) -> list[tuple[int, float]]:
        """Return about the nearest rows to `wanted` [F], nearest first, with their Euclidean distances.

        The graph gives candidates by its float16 rows; their distances and their order are those of the features.
        """
        keys = np.sort(self.graph.search(wanted, min(number * CANDIDATES, len(self.features))).keys.astype(np.int64))
        return [(int(keys[place]), distance) for place, distance in nearest_rows(self.features[keys], wanted, number)]
