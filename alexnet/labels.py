"""Class names from a file: a run's own list, Caffe's lists of synsets, torchvision's index."""

from __future__ import annotations

from pathlib import Path

from alexnet.errors import InputError
from alexnet.files import read_json


def read_labels(path: Path) -> tuple[str, ...]:
    """Return class names in the order of the outputs; InputError when the file holds none.

    A text file has one a line, as Caffe's synset_words.txt and synsets.txt; JSON is a list of names, or an object from
    the class's number to its name or to [synset, name], as imagenet_class_index.json.
    """
    if path.suffix != ".json":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as text: {error}; give a file with one class a line") from None
        return tuple(line.strip() for line in lines if line.strip())
    values = read_json(path)
    if isinstance(values, dict) and set(values) == {str(place) for place in range(len(values))}:
        values = [values[str(place)] for place in range(len(values))]
        values = [
            " ".join(value) if isinstance(value, list) and all(map(_is_text, value)) else value for value in values
        ]
    if not isinstance(values, list) or not all(map(_is_text, values)):
        raise InputError(f"{path} is not a list of class names, nor an object from 0, 1, 2, ... to them; mend it")
    return tuple(values)


def _is_text(value: object) -> bool:
    """Return whether a JSON value is text."""
    return isinstance(value, str)
