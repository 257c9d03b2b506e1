"""`alexnet data prepare`: any source into shards, an index, the mean image and the colours' principal components.

One task is one shard, done by a process of its own; a shard that is whole is not done again, so a killed run goes on
where it was. The index is written last: what has none is unfinished, and nothing takes it for whole.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save

from alexnet.errors import InputError, PictureError
from alexnet.files import read_json, sha256_of, write_bytes, write_json
from alexnet.pictures import Preprocessing, square
from alexnet.prepared import FORMAT, INDEX, PLAN, STATISTICS
from alexnet.recipe import DataRecipe, Resize
from alexnet.train.data.processes import process_map
from alexnet.train.data.sources import PARTS, Item, list_source, read_item
from alexnet.train.data.statistics import Statistics, statistics_from_sums

SHARD = 1024
SUFFIXES = {"raw": ".raw", "jpeg": ".jpgs"}


@dataclass(frozen=True)
class Preparation:
    """What was prepared: pictures in each part, and those that could not be decoded, with the reason."""

    pictures: dict[str, int]
    skipped: list[str]
    classes: int


def prepare(
    source: str,
    out: Path,
    *,
    side: int,
    form: str,
    quality: int,
    workers: int,
    strict: bool,
    progress: Callable[[int, int], None],
    resize: Resize = "shorter",
) -> Preparation:
    """Prepare `source` in the folder `out` at `side` pixels, as raw or as jpeg of `quality`, on `workers` processes.

    A picture that cannot be decoded is left out and listed, or with `strict` ends it (PictureError). Raises InputError
    when `out` was begun from another source or with other settings.
    """
    listed = list_source(source)
    preprocessing = Preprocessing.of(DataRecipe(picture=side, resize=resize))
    tasks = [
        (f"{part}-{number:05d}", listed.items[part][first : first + SHARD])
        for part in PARTS
        for number, first in enumerate(range(0, len(listed.items[part]), SHARD))
    ]
    _begin(out, source, listed.classes, tasks, preprocessing, form, quality)
    total = sum(len(items) for _, items in tasks)
    work = partial(_write_shard, out, preprocessing=preprocessing, form=form, quality=quality, strict=strict)
    done = 0
    with process_map(workers) as run:
        for number in run(work, tasks):
            done += number
            progress(done, total)
    return _finish(out, listed.classes, preprocessing, form, [name for name, _ in tasks])


def _begin(
    out: Path,
    source: str,
    classes: tuple[str, ...],
    tasks: list[tuple[str, list[Item]]],
    preprocessing: Preprocessing,
    form: str,
    quality: int,
) -> None:
    """Write the plan, or compare it with the one that is there."""
    listing = hashlib.sha256(repr([(name, items) for name, items in tasks]).encode()).hexdigest()
    plan = {
        "source": source if source.startswith("generator") else str(Path(source).resolve()),
        "listing_sha256": listing,
        "classes": list(classes),
        "side": preprocessing.side,
        "resize": preprocessing.rule,
        "form": form,
        "quality": quality if form == "jpeg" else None,
    }
    if (out / PLAN).is_file():
        found = {"resize": "shorter", **read_json(out / PLAN)}
        differing = [key for key in plan if found.get(key) != plan[key]]
        if differing:
            key = differing[0]
            raise InputError(
                f"{out} was begun with {key} {found.get(key)!r}, now {plan[key]!r} was asked for; choose another folder"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no {PLAN}; choose another folder")
    write_json(out / PLAN, plan)


def _write_shard(
    out: Path,
    task: tuple[str, list[Item]],
    *,
    preprocessing: Preprocessing,
    form: str,
    quality: int,
    strict: bool,
) -> int:
    """Write one shard, its description last, unless it is whole already; return the number of its items."""
    name, items = task
    described = out / f"{name}.json"
    if described.is_file():
        return len(items)
    pictures, blobs, skipped = [], [], []
    kept: dict[str, list[Any]] = {"names": [], "labels": [], "source_sha256": []}
    for item in items:
        try:
            image, data = read_item(item)
        except PictureError as error:
            if strict:
                raise
            skipped.append(error.message)
            continue
        pixels = square(image, preprocessing)
        if form == "jpeg":
            blobs.append(_encode(pixels, quality))
            pixels = np.asarray(Image.open(io.BytesIO(blobs[-1])).convert("RGB"))
        pictures.append(pixels)
        kept["names"].append(item.name)
        kept["labels"].append(item.label)
        kept["source_sha256"].append(hashlib.sha256(data).hexdigest())
    side = preprocessing.side
    array = np.stack(pictures) if pictures else np.empty((0, side, side, 3), dtype=np.uint8)
    path = out / f"{name}{SUFFIXES[form]}"
    write_bytes(path, b"".join(blobs) if form == "jpeg" else array.tobytes())
    values = array.reshape(-1, 3).astype(np.float64)
    sums = {"pixels": array.sum(axis=0, dtype=np.int64), "products": values.T @ values}
    write_bytes(out / f"{name}.safetensors", save(sums))
    offsets = [0, *np.cumsum([len(blob) for blob in blobs]).tolist()] if form == "jpeg" else []
    shard = {"file": path.name, "bytes": path.stat().st_size, "pictures": len(pictures), "sha256": sha256_of(path)}
    write_json(described, {**shard, **kept, "offsets": offsets, "skipped": skipped})
    return len(items)


def _encode(pixels: np.ndarray[Any, np.dtype[np.uint8]], quality: int) -> bytes:
    """Return pixels as JPEG without subsampling of the colours."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def _finish(
    out: Path, classes: tuple[str, ...], preprocessing: Preprocessing, form: str, names: list[str]
) -> Preparation:
    """Make the statistics of the training part from the shards' sums, and write the index."""
    described = {name: read_json(out / f"{name}.json") for name in names}
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for name, shard in described.items():
        short = {key: shard[key] for key in ("file", "bytes", "pictures", "sha256")}
        short["described_sha256"] = sha256_of(out / f"{name}.json")
        parts[name.rsplit("-", 1)[0]].append(short)
    pictures = {part: sum(shard["pictures"] for shard in shards) for part, shards in parts.items()}
    if not all(pictures.values()):
        raise InputError(f"{out} has {pictures} pictures, expected some in each part; look at the source")
    statistics = _statistics([name for name in names if name.startswith("train-")], out, pictures["train"])
    statistics.save(out / STATISTICS)
    skipped = [reason for shard in described.values() for reason in shard["skipped"]]
    index = {
        "format": FORMAT,
        "form": form,
        "preprocessing": preprocessing.to_values(),
        "classes": list(classes),
        "pictures": pictures,
        "parts": parts,
        "statistics_sha256": sha256_of(out / STATISTICS),
        "skipped": skipped,
    }
    write_json(out / INDEX, index)
    return Preparation(pictures, skipped, len(classes))


def _statistics(names: list[str], out: Path, number: int) -> Statistics:
    """Return the statistics of the training shards: sums in int64 and float64, so a resumed run has the same."""
    loaded = [load_file(out / f"{name}.safetensors") for name in names]
    pixels = np.stack([sums["pixels"] for sums in loaded]).sum(axis=0, dtype=np.int64)
    products = np.stack([sums["products"] for sums in loaded]).sum(axis=0)
    return statistics_from_sums(pixels, products, number, "pixel")
