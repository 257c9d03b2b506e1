"""The embedded data set: as many labelled pictures as asked for, the same ones on every machine.

Every picture is a function of (seed, part, class, index) and the size alone, so any of them can be drawn by
itself, in any order and by any process, a larger set with the same seed contains the smaller one, and no two
parts share a picture.
"""

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet.errors import InputError
from alexnet.files import atomic_write, read_json, write_json
from alexnet.train.data import scene
from alexnet.train.data.processes import process_map
from alexnet.train.data.things import THINGS

CLASSES: tuple[str, ...] = tuple(THINGS)
"""Names of the ten things; a picture's label is the place of its name here."""

PARTS = ("train", "val", "test")
"""Pictures to train on, to validate on, and for `make_flat`, which neither training nor validation sees."""

GENERATOR_VERSION = 1
"""Raised whenever the same arguments give other pictures than before."""

DESCRIPTION = "pictures.json"
"""What a finished folder holds; while it is being drawn the same stands in `pictures.json.partial`."""

SMALLEST_SIZE = 16
LARGEST_SEED = 2**32 - 1
CHUNK = 32
"""Pictures that a worker draws between two reports of progress."""

Task = tuple[str, int, int]
"""Part, label and index of one picture."""


def draw_picture(label: int, *, seed: int, part: str, index: int, size: int) -> Image.Image:
    """Draw one RGB picture of the thing `CLASSES[label]`, `size` pixels along its shorter side.

    The longer side is up to 1.5 times as long. `part` is one of `PARTS`; `index` counts the pictures of a
    class. The same picture at another size differs in its resolution and sensor noise only.

    Raises InputError when the seed, the size or the part is out of range.
    """
    _check(seed, size)
    rng, _ = _streams(seed, part, label, index)
    width, height = scene.picture_size(rng, size)
    return scene.compose(rng, THINGS[CLASSES[label]](rng), width, height)


def make_pictures(
    out: Path,
    *,
    seed: int,
    size: int,
    train: int,
    val: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw `train` and `val` JPEG pictures into OUT/train/<class>/ and OUT/val/<class>/.

    The classes share each part as evenly as its number allows. Pictures are drawn by `workers` processes, and
    in this one if that is 1; `progress` is called with (pictures done, pictures in all). A folder left half
    drawn is completed; a finished one is left as it is.

    Raises InputError when an argument is out of range, and when `out` holds something else or was drawn with
    other arguments.
    """
    _check(seed, size)
    for part, number in (("train", train), ("val", val)):
        if number < len(CLASSES):
            raise InputError(f"{part} is to have {number} pictures; give at least {len(CLASSES)}, one of each class")
    if workers < 1:
        raise InputError(f"{workers} workers cannot draw pictures; give at least 1")
    asked = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "size": size,
        "train": train,
        "val": val,
        "classes": list(CLASSES),
    }
    if _is_finished(out, asked):
        return
    partial_description = out / f"{DESCRIPTION}.partial"
    write_json(partial_description, asked)
    tasks = [*_tasks("train", train), *_tasks("val", val)]
    chunks = [tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK)]
    draw = partial(_draw_chunk, out, seed=seed, size=size)
    with process_map(workers) as run:
        done = 0
        for drawn in run(draw, chunks):
            done += drawn
            if progress is not None:
                progress(done, len(tasks))
    partial_description.replace(out / DESCRIPTION)


def make_flat(out: Path, *, seed: int, size: int, number: int) -> None:
    """Draw `number` pictures that no train or val part contains into the folder `out`, as <class>-0001.jpg.

    The classes share the number as evenly as it allows. Files of the same names are replaced.
    """
    _check(seed, size)
    for part, label, index in _tasks("test", number):
        _save(out / f"{CLASSES[label]}-{index:04d}.jpg", label, seed=seed, part=part, index=index, size=size)


def _check(seed: int, size: int) -> None:
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"the seed is {seed}; give one from 0 to {LARGEST_SEED}")
    if size < SMALLEST_SIZE:
        raise InputError(f"the size is {size} pixels; give at least {SMALLEST_SIZE}")


def _streams(seed: int, part: str, label: int, index: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the random numbers of one picture: those it is drawn with, and those it is written with."""
    if part not in PARTS:
        raise InputError(f"the part is {part}; give one of {', '.join(PARTS)}")
    words = np.random.SeedSequence([seed, PARTS.index(part), label, index]).spawn(2)
    drawing, writing = (np.random.Generator(np.random.PCG64(word)) for word in words)
    return drawing, writing


def _tasks(part: str, number: int) -> Iterator[Task]:
    """The pictures of a part: class after class in turn, each counted from 1."""
    for picture in range(number):
        yield part, picture % len(CLASSES), picture // len(CLASSES) + 1


def _draw_chunk(out: Path, tasks: list[Task], *, seed: int, size: int) -> int:
    """Draw those pictures that are not there yet, and return how many are there now."""
    for part, label, index in tasks:
        path = out / part / CLASSES[label] / f"{CLASSES[label]}-{index:05d}.jpg"
        if not path.exists():
            _save(path, label, seed=seed, part=part, index=index, size=size)
    return len(tasks)


def _save(path: Path, label: int, *, seed: int, part: str, index: int, size: int) -> None:
    picture = draw_picture(label, seed=seed, part=part, index=index, size=size)
    _, rng = _streams(seed, part, label, index)
    encoded = BytesIO()
    picture.save(encoded, format="JPEG", quality=int(rng.integers(85, 96)))
    with atomic_write(path) as file:
        file.write(encoded.getvalue())


def _is_finished(out: Path, asked: dict[str, Any]) -> bool:
    """Return whether `out` holds all of what is asked for; InputError when it holds something else."""
    for name in (DESCRIPTION, f"{DESCRIPTION}.partial"):
        if (out / name).exists():
            found = read_json(out / name)
            if found != asked:
                raise InputError(
                    f"{out} holds pictures drawn with {_words(found)}, and {_words(asked)} was asked for; "
                    "choose another folder"
                )
            return name == DESCRIPTION
    for part in ("train", "val"):
        if (out / part).exists():
            raise InputError(f"{out / part} is there, but no {DESCRIPTION} that says what it is; choose another folder")
    return False


def _words(description: Any) -> str:
    """Put what can differ between two descriptions on one line."""
    if not isinstance(description, dict):
        return "unknown arguments"
    names = ("seed", "size", "train", "val", "generator_version")
    return ", ".join(f"{name.replace('_', ' ')} {description.get(name)}" for name in names)
