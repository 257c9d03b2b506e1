"""Pictures from an ImageFolder tree (`train/CLASS/*.jpg`, `val/CLASS/*.jpg`) as arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alexnet.class_folders import folder_classes
from alexnet.errors import InputError
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture

# Of the memory, the most that decoded pictures may take; the rest is the network's and the system's.
SHARE_OF_MEMORY = 0.7


class Pictures(Protocol):
    """Pictures uint8 [N, S, S, 3], in memory or in shards: some of them by slice or indices, or one by its index."""

    def __getitem__(self, chosen: Any, /) -> npt.NDArray[np.uint8]:
        """Return the chosen pictures [n, S, S, 3], or the one [S, S, 3]."""
        ...

    def __len__(self) -> int:
        """Return their number."""
        ...


@dataclass(frozen=True)
class Part:
    """One part of a data set: pictures uint8 [N, S, S, 3], labels int64 [N], and each picture's file name."""

    pictures: Pictures
    labels: npt.NDArray[np.int64]
    names: list[str]


def load_part(
    root: Path, part: str, preprocessing: Preprocessing, progress: Callable[[int, int], None] | None = None
) -> Part:
    """Return all pictures of `part`, in sorted order of class and name, by the one preprocessing function.

    `progress` is told how many of how many are done. Raises PictureError for the first that cannot be decoded, and
    InputError when the pictures would fill this machine's memory.
    """
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(folder_classes(root)):
        files += [(path, label) for path in find_pictures([root / part / name])]
    side = preprocessing.side
    needed, present = len(files) * side * side * 3, physical_memory()
    if needed > SHARE_OF_MEMORY * present:
        raise InputError(
            f"{root}/{part} holds {len(files):,} pictures, {needed / 1e9:.1f} GB once decoded, and this machine has "
            f"{present / 1e9:.1f} GB of memory; prepare them once and train from the disk: "
            f"alexnet data prepare {root} {root}-prepared --size {side}"
        )
    pictures = np.empty((len(files), side, side, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(lambda item: load_picture(item[0], preprocessing), files)
        for place, picture in enumerate(loaded):
            pictures[place] = picture
            if progress is not None:
                progress(place + 1, len(files))
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Part(pictures, labels, [str(path.relative_to(root)) for path, _ in files])


def physical_memory() -> int:
    """Return the bytes of memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
