"""The accuracy gate: float and quantised side by side on the validation part, and how sure their difference is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.calibration.pictures import PicturePart
from alexnet.calibration.statistics import batches
from alexnet.metadata import INPUT, OUTPUT, ModelMetadata

Floats = npt.NDArray[np.float32]
# The normal quantile of a 95 % interval.
Z = 1.959964
BATCH = 8


@dataclass(frozen=True)
class PairedDrop:
    """How much worse the second of two models is on the same pictures.

    `before` and `after` are shares of `pictures` that each gets right; `lost` counts those that only the first gets
    right, `gained` those that only the second does. `drop` is before less after, in points (hundredths), and `low` to
    `high` its 95 % interval.
    """

    pictures: int
    before: float
    after: float
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """The drop in points."""
        return 100.0 * (self.lost - self.gained) / self.pictures

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the drop, in points.

        Of a difference of paired proportions, adjusted Wald: half a picture is added to each of the four cells
        (Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005).
        """
        number, lost, gained = self.pictures + 2.0, self.lost + 0.5, self.gained + 0.5
        middle = (lost - gained) / number
        spread = Z * math.sqrt(lost + gained - (lost - gained) ** 2 / number) / number
        return 100.0 * max(-1.0, middle - spread), 100.0 * min(1.0, middle + spread)

    def to_values(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "drop": self.drop, "interval": list(self.interval)}


@dataclass(frozen=True)
class Accuracy:
    """The drops of top-1 and top-5 accuracy."""

    top1: PairedDrop
    top5: PairedDrop

    def to_values(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"top1": self.top1.to_values(), "top5": self.top5.to_values()}

    def table(self, form: str) -> str:
        """Return both as aligned text, float beside quantised."""
        lines = [f"  {'':<8}{'float32':>9}{form:>9}     drop   95 % interval (points)"]
        for name, drop in (("top-1", self.top1), ("top-5", self.top5)):
            low, high = drop.interval
            lines.append(
                f"  {name:<8}{drop.before:>9.2%}{drop.after:>9.2%}{drop.drop:>+9.2f}   {low:+.2f} to {high:+.2f}"
            )
        return "\n".join(lines)


def probabilities(
    session: Any, metadata: ModelMetadata, part: PicturePart, places: list[int], count: Callable[[int, int], None]
) -> Floats:
    """Return a model's probabilities [n, classes] for pictures of a part."""
    found: list[Floats] = []
    done = 0
    for group in batches(places, metadata, BATCH):
        answers = session.run([OUTPUT], {INPUT: metadata.fed(part.read(group))})[0]
        found.append(answers[: len(places) - done])
        done = min(done + len(group), len(places))
        count(done, len(places))
    return np.concatenate(found)


def paired(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> PairedDrop:
    """Return the drop from which of [N] pictures one model gets right to which another does."""
    return PairedDrop(
        pictures=len(before),
        before=float(before.mean()),
        after=float(after.mean()),
        lost=int((before & ~after).sum()),
        gained=int((~before & after).sum()),
    )


def right(answers: Floats, labels: npt.NDArray[np.int64], best: int) -> npt.NDArray[np.bool_]:
    """Return for which pictures the label is among the `best` classes of probabilities [N, classes].

    Probabilities that are not finite are right about nothing.
    """
    ranked = np.argsort(-answers, axis=1, kind="stable")[:, :best]
    found: npt.NDArray[np.bool_] = (ranked == labels[:, None]).any(axis=1) & np.isfinite(answers).all(axis=1)
    return found


def accuracy(before: Floats, after: Floats, labels: npt.NDArray[np.int64]) -> Accuracy:
    """Return the drops between two models' probabilities [N, classes] for labelled pictures."""
    drops = [paired(right(before, labels, best), right(after, labels, best)) for best in (1, 5)]
    return Accuracy(*drops)
