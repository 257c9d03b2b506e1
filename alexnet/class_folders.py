"""A folder of pictures by part and class: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`."""

from __future__ import annotations

from pathlib import Path

from alexnet.errors import InputError


def folder_classes(root: Path, held_out: str = "val") -> tuple[str, ...]:
    """Return the class names of a data folder, sorted; InputError when its parts are missing or disagree.

    `held_out` is the folder beside train/.
    """
    classes: dict[str, tuple[str, ...]] = {}
    for part in ("train", held_out):
        if not (root / part).is_dir():
            raise InputError(
                f"{root} has no folder {part}/, expected {root}/train/CLASS/*.jpg and {root}/val/CLASS/*.jpg; "
                f"draw the embedded pictures with: alexnet data make {root}"
            )
        folders = (entry.name for entry in (root / part).iterdir() if entry.is_dir() and entry.name[0] != ".")
        classes[part] = tuple(sorted(folders))
    if not classes["train"]:
        raise InputError(f"{root}/train has no folders, expected one for each class")
    strangers = sorted(set(classes["train"]) ^ set(classes[held_out]))
    if strangers:
        raise InputError(f"train and val of {root} have different classes, first {strangers[0]!r}; make them agree")
    return classes["train"]
