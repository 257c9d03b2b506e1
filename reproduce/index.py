"""One index with everything that is asked for: what the runtime builds, then codes, whose training needs torch."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from alexnet.errors import Interrupted
from alexnet.reproduce.autoencoder import AutoencoderOptions, import_torch, train_autoencoder
from alexnet.runtime.backends import BackendOptions
from alexnet.runtime.retrieval.build import Counted, IndexOptions, Say, build_index, held, open_features
from alexnet.runtime.retrieval.codes import save_codes
from alexnet.runtime.retrieval.folder import CODES, Manifest


def index_pictures(
    model: Path,
    data: Path,
    out: Path,
    options: IndexOptions,
    bits: int | None,
    opened: BackendOptions,
    say: Say,
    counted: Counted,
) -> Manifest:
    """Index the pictures of `data` into `out`, with codes of `bits` unless that is None, and return the manifest.

    An index that has such codes keeps them; codes of another length take their place. Raises MissingPackageError before
    anything is computed when codes are wanted and torch is not installed, and what `build_index` raises.
    """
    if bits is not None:
        import_torch()
    made = build_index(model, data, out, options, opened, say, counted)
    if bits is None or (made.codes and made.codes["bits"] == bits):
        return made
    with held(out):
        return _with_codes(out, replace(made, codes=None), AutoencoderOptions(bits=bits), counted)


def _with_codes(out: Path, made: Manifest, options: AutoencoderOptions, counted: Counted) -> Manifest:
    """Train the autoencoder, write its codes and say so in the manifest, which names none meanwhile."""
    made.save(out)
    features = open_features(out)
    try:
        with counted("training codes") as count:
            trained = train_autoencoder(features, options, count)
        with counted("codes") as count:
            save_codes(out / CODES, trained.encoder, trained.encoder.encode_all(features, count))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the same command goes on with {out}") from None
    torch = import_torch()
    said = {**asdict(options), "rows": trained.rows, "error": trained.error, "library": f"torch {torch.__version__}"}
    finished = replace(made, codes=said)
    finished.save(out)
    return finished
