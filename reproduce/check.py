"""Two of run, ONNX model and plan held against each other on the same pictures, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alexnet.crops import CROPS
from alexnet.errors import InputError, ModelError, ParityError
from alexnet.layers import LAYER_TOLERANCE, LayerComparison, compare_layers
from alexnet.parity import TOLERANCE, Comparison, ParityPack, compare, parity_pack_beside
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.reproduce.subjects import ModelSubject, RunSubject, Subject, open_subject
from alexnet.runtime.check import tolerance_of, views

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Pictures that are decoded and in memory at once.
BATCH = 32


@dataclass(frozen=True)
class Pairing:
    """What a comparison of two subjects found; `pictures` says where those that both answered come from.

    `layers` is None unless they were asked for and both show them; `notes` say what a reader should know.
    """

    a: Subject
    b: Subject
    pictures: str
    crops: int
    comparison: Comparison
    tolerance: float
    layers: LayerComparison | None
    notes: tuple[str, ...]

    def fault(self) -> ParityError | None:
        """Return the error that says by how much the two differ, and in which layer first; None when they agree."""
        if not self.comparison.largest <= self.tolerance:
            where = self.layers.located() if self.layers else "find the layer with: --layers"
            return ParityError(
                f"{self.b.path} differs from {self.a.path} by {self.comparison.largest:.2g} in a probability of "
                f"{self.comparison.worst}, expected at most {self.tolerance:g} ({self.comparison.top1:.1%} of "
                f"{self.comparison.pictures} pictures keep their best class); {where}"
            )
        if self.layers and self.layers.first:
            return ParityError(
                f"the probabilities of {self.b.path} are within {self.comparison.largest:.2g} of those of "
                f"{self.a.path}, but {self.layers.located()}"
            )
        return None


def compare_subjects(a: Path, b: Path, images: Path | None = None, *, layers: bool = False) -> Pairing:
    """Let two runs or model files answer the same pictures and return how far `b` is from `a`.

    The pictures are those under `images`, else those of the parity pack beside either file, else the samples of a
    run. The tolerance is the larger one of the two precisions. Raises ModelError when the two differ in labels,
    preprocessing or crops, InputError when there are no pictures.
    """
    first, second = open_subject(a), open_subject(b)
    _check_alike(first, second)
    crops = first.crops or second.crops or CROPS
    limits = [tolerance_of(TOLERANCE, subject.precision, subject.path) for subject in (first, second)]
    where, pictures = _pictures(first, second, images)
    answers: tuple[list[Floats], list[Floats]] = ([], [])
    names: list[str] = []
    shown: Pixels | None = None
    for part, part_names in pictures:
        shown = part[0] if shown is None else shown
        names += part_names
        for subject, found in zip((first, second), answers, strict=True):
            found.append(subject.probabilities(part, crops))
    assert shown is not None
    comparison = compare(np.concatenate(answers[0]), np.concatenate(answers[1]), names)
    notes = []
    if first.checkpoint_sha256 != second.checkpoint_sha256:
        notes.append(
            f"their weights are of different checkpoints, {first.checkpoint_sha256[:12]} and "
            f"{second.checkpoint_sha256[:12]}"
        )
    compared = None
    if layers:
        compared, found_notes = _compare_layers(first, second, shown)
        notes += found_notes
    return Pairing(first, second, where, crops, comparison, max(limits), compared, tuple(notes))


def _compare_layers(a: Subject, b: Subject, picture: Pixels) -> tuple[LayerComparison | None, list[str]]:
    """Return the comparison of the layers that both have, None when either shows none, and notes on them."""
    sides = [subject.layers(picture) for subject in (a, b)]
    notes = [side.note for side in sides if side.note]
    expected, found = (side.outputs for side in sides)
    if expected is None or found is None:
        return None, notes
    limits = [tolerance_of(LAYER_TOLERANCE, subject.precision, subject.path) for subject in (a, b)]
    return compare_layers(expected, found, max(limits, key=lambda limit: limit.layers)), notes


def _check_alike(a: Subject, b: Subject) -> None:
    """Raise ModelError, naming both, unless the two classify the same pictures into the same classes alike."""
    if a.labels != b.labels:
        differing = next(iter(sorted(set(a.labels) ^ set(b.labels))), "their order")
        raise ModelError(
            f"{a.path} knows {len(a.labels)} classes, {b.path} {len(b.labels)}, and they differ ({differing}); "
            "compare models of the same classes"
        )
    if a.preprocessing != b.preprocessing:
        raise ModelError(
            f"{a.path} prepares pictures by {a.preprocessing.to_values()}, {b.path} by "
            f"{b.preprocessing.to_values()}; compare models that see the same pictures"
        )
    if a.crops and b.crops and a.crops != b.crops:
        raise ModelError(
            f"{a.path} answers from {views(a.crops)} a picture, {b.path} from {views(b.crops)}; export one of them "
            "again with the other's --crops"
        )


def _pictures(
    a: ModelSubject | RunSubject, b: ModelSubject | RunSubject, images: Path | None
) -> tuple[str, Iterator[tuple[Pixels, list[str]]]]:
    """Return where the pictures come from, and batches of them with their names."""
    if images is not None:
        files = list(find_pictures([images]))
        return f"{images}", _decoded(files, images, a.preprocessing)
    for subject in (a, b):
        pack = parity_pack_beside(subject.path)
        if not isinstance(subject, RunSubject) and pack.is_file():
            held = ParityPack.load(pack)
            return f"{pack}", _batches(held.pictures, held.names, a.preprocessing.side, pack)
    for subject in (a, b):
        if isinstance(subject, RunSubject):
            pictures, names = subject.samples
            where = subject.run.samples_path
            return f"{where}", _batches(pictures, names, a.preprocessing.side, where)
    raise InputError(
        f"neither {a.path} nor {b.path} has a parity pack beside it; give a folder of pictures with: --images DIR"
    )


def _batches(pictures: Pixels, names: list[str], side: int, where: Path) -> Iterator[tuple[Pixels, list[str]]]:
    """Return pictures in batches; InputError when they are not of the size that the models take."""
    if pictures.shape != (len(names), side, side, 3) or not names:
        raise InputError(
            f"{where} holds pictures {pictures.shape}, expected [N, {side}, {side}, 3]; give others with: --images DIR"
        )
    return ((pictures[at : at + BATCH], names[at : at + BATCH]) for at in range(0, len(names), BATCH))


def _decoded(files: list[Path], root: Path, preprocessing: Preprocessing) -> Iterator[tuple[Pixels, list[str]]]:
    """Yield decoded pictures in batches, named by their place under `root`."""
    for at in range(0, len(files), BATCH):
        part = files[at : at + BATCH]
        names = [file.relative_to(root).as_posix() if root.is_dir() else file.name for file in part]
        yield np.stack([load_picture(file, preprocessing) for file in part]), names
