"""`alexnet data check`: what is odd in a source of pictures, before anything is trained on it."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from alexnet.decoding import FORMATS, decode_picture
from alexnet.errors import PictureError
from alexnet.train.data.sources import Item, Source, read_item, source_bytes

TINY = 64
# Names listed of each oddity; the count has all.
LISTED = 20
NAMES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


@dataclass
class Oddity:
    """How many pictures are odd in one way, and the first of them by name."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(name)


@dataclass
class SourceReport:
    """The report on a source: pictures a part, oddities by kind, and how evenly the classes are filled."""

    pictures: dict[str, int]
    oddities: dict[str, Oddity]
    classes: int
    smallest_class: tuple[str, int]
    largest_class: tuple[str, int]

    def to_values(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return asdict(self)


KINDS = {
    "cannot be decoded": "truncated, damaged or in no known format",
    "cmyk": "in CMYK colours",
    "grey": "grey",
    "misnamed": "in another format than their name says, such as PNG named .JPEG",
    "tiny": f"with a shorter side below {TINY} pixels",
    "duplicate": "with the same bytes as another of their part",
    "overlap": "in val with the same bytes as one in train",
}


def check_source(source: Source, workers: int, progress: Callable[[int, int], None]) -> SourceReport:
    """Return the report on every picture of a source, read by `workers` threads."""
    oddities = {kind: Oddity() for kind in KINDS}
    digests: dict[str, set[str]] = {}
    total, done = sum(len(items) for items in source.items.values()), 0
    with ThreadPoolExecutor(workers) as pool:
        for part, items in source.items.items():
            seen = digests.setdefault(part, set())
            for item, (kinds, digest) in zip(items, pool.map(_examine, items), strict=True):
                for kind in kinds:
                    oddities[kind].add(item.name)
                if digest in seen:
                    oddities["duplicate"].add(item.name)
                elif part == "val" and digest in digests.get("train", set()):
                    oddities["overlap"].add(item.name)
                seen.add(digest)
                done += 1
                progress(done, total)
    counts = Counter(dict.fromkeys(source.classes, 0))
    counts.update(source.classes[item.label] for item in source.items["train"])
    ranked = counts.most_common()
    pictures = {part: len(items) for part, items in source.items.items()}
    return SourceReport(pictures, oddities, len(source.classes), ranked[-1], ranked[0])


def _examine(item: Item) -> tuple[list[str], str]:
    """Return the kinds of oddity of one picture, and the digest of its bytes."""
    if item.kind in ("drawn", "cifar"):
        return [], hashlib.sha256(read_item(item)[1]).hexdigest()
    try:
        data = source_bytes(item)
    except PictureError:
        return ["cannot be decoded"], item.name
    digest = hashlib.sha256(data).hexdigest()
    kinds = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        decode_picture(data, item.name)
    except (PictureError, UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        return ["cannot be decoded"], digest
    if image.mode == "CMYK":
        kinds.append("cmyk")
    if image.mode in ("L", "1", "LA", "I;16", "I"):
        kinds.append("grey")
    named = NAMES.get(PurePosixPath(item.name).suffix.lower())
    if named and named != ("JPEG" if image.format == "MPO" else image.format):
        kinds.append("misnamed")
    if min(image.size) < TINY:
        kinds.append("tiny")
    return kinds, digest
