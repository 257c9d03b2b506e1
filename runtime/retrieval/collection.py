"""The pictures of an index: a part of prepared data, or a folder; named, labelled, and read one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.errors import InputError
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.prepared import INDEX, check_preprocessing, is_prepared, open_prepared_part, read_index

Pixels = npt.NDArray[np.uint8]
TRAIN = "train"


@dataclass(frozen=True)
class Collection:
    """Pictures with their names and classes, None where a class is not known.

    `part` is that of prepared data, None for a folder; `read` returns one picture uint8 [S, S, 3] by its place.
    `digest` is the SHA-256 of prepared data's index, which holds those of all shards, or of the names and sizes of a
    folder's files: what a change of the pictures would change.
    """

    data: Path
    part: str | None
    names: list[str]
    classes: list[str | None]
    read: Callable[[int], Pixels]
    digest: str


def open_collection(data: Path, part: str | None, preprocessing: Preprocessing, model: Path) -> Collection:
    """Return the pictures of prepared data (its part `train` unless another is asked for) or those under a folder.

    A picture's class in a folder is the name of the folder it is in. Nothing is decoded yet. Raises InputError when
    there are no pictures, when the data are prepared for another size than the model's, or when a folder is asked for
    a part.
    """
    if is_prepared(data):
        index = read_index(data)
        check_preprocessing(data, index, preprocessing, model)
        found = open_prepared_part(data, index, part or TRAIN)
        if not found.names:
            raise InputError(f"{data} has no pictures in its part {part or TRAIN}; give another one with --part")
        classes: list[str | None] = [index["classes"][label] for label in found.labels]
        digest = hashlib.sha256((data / INDEX).read_bytes()).hexdigest()
        return Collection(data, part or TRAIN, found.names, classes, lambda place: found.pictures[[place]][0], digest)
    if part is not None:
        raise InputError(f"{data} is not prepared data and has no parts; leave --part out: every picture is indexed")
    if data.exists() and not data.is_dir():
        raise InputError(f"{data} is a file, expected prepared data or a folder of pictures")
    return _folder(data, preprocessing)


def _folder(data: Path, preprocessing: Preprocessing) -> Collection:
    """Return the pictures under a folder, in sorted order."""
    names, classes, digest = [], [], hashlib.sha256()
    for path in find_pictures([data]):
        name = path.relative_to(data)
        names.append(name.as_posix())
        classes.append(name.parent.name or None)
        try:
            size = path.stat().st_size
        except OSError:
            size = -1  # a broken link: it is reported when it is read
        digest.update(f"{size} {names[-1]}\n".encode("utf-8", "surrogateescape"))
    return Collection(
        data, None, names, classes, lambda place: load_picture(data / names[place], preprocessing), digest.hexdigest()
    )
