"""Figure 4, left: held-out pictures with the five classes that the network finds most probable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.calibration.pictures import balanced, open_parts
from alexnet.crops import CROPS
from alexnet.figures import short
from alexnet.reproduce.page import Findings, data_digest, facts_of, import_figures
from alexnet.reproduce.subjects import open_subject

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
PAPER = (
    "eight test pictures and the five labels considered most probable, the correct one marked where it is among them; "
    "even off-centre objects are recognised, and most of the top five appear reasonable (Figure 4, section 6.1)"
)
TOP, ACROSS = 5, 4
OTHERS, TRUTH = "#7a8fb0", "#c0392b"


def reproduce_predictions(path: Path, data: Path, pictures: int, seed: int) -> Findings:
    """Return Figure 4 left of a run or a model, for `pictures` of the validation part drawn with `seed` by class."""
    subject = open_subject(path)
    part = open_parts(data, subject, path).val
    places = balanced(part.labels, pictures, seed)
    shown, labels = part.read(places), [subject.labels[int(part.labels[place])] for place in places]
    answers = subject.probabilities(shown, subject.crops or CROPS)
    best = np.argsort(-answers, axis=1, kind="stable")[:, :TOP]
    named = [[subject.labels[int(place)] for place in row] for row in best]
    first = sum(names[0] == label for names, label in zip(named, labels, strict=True))
    among = sum(label in names for names, label in zip(named, labels, strict=True))
    table: list[tuple[str, ...]] = [("picture", "true class", *(f"{place}." for place in range(1, best.shape[1] + 1)))]
    for row, (place, label, names) in enumerate(zip(places, labels, named, strict=True)):
        cells = [f"{name} {answers[row, best[row, rank]]:.1%}" for rank, name in enumerate(names)]
        table.append((part.names[place], label, *cells))
    return Findings(
        name="predictions",
        title="Figure 4, left: the five most probable classes",
        paper=PAPER,
        ours=f"of {len(places)} held-out pictures drawn with seed {seed}, {first} have their class first and {among} "
        f"among the best {best.shape[1]} of {len(subject.labels)} ({path}, {subject.what})",
        table=table,
        values={"pictures": len(places), "first": first, "among_best": among, "classes": len(subject.labels)},
        picture=draw(shown, labels, named, [answers[row, best[row]] for row in range(len(places))]),
        shown=f"{len(places)} pictures, each with its true class and {best.shape[1]} bars of probability; the bar of "
        "the true class is red",
        facts=facts_of(
            seed,
            (),
            weights=subject.checkpoint_sha256,
            data=data_digest(data, [part.digest(place) for place in places]),
        ),
    )


def draw(shown: Pixels, labels: Sequence[str], named: Sequence[Sequence[str]], bars: Sequence[Floats]) -> Any:
    """Return the figure: pictures [P, S, S, 3] in rows of four, each over its bars."""
    down = -(-len(shown) // ACROSS)
    figure = import_figures().Figure(figsize=(9.0, 3.9 * down), layout="constrained")
    axes = figure.subplots(2 * down, ACROSS, squeeze=False, height_ratios=[1.55, 1.0] * down)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, (picture, label, names, values) in enumerate(zip(shown, labels, named, bars, strict=True)):
        row, column = divmod(place, ACROSS)
        above, below = axes[2 * row][column], axes[2 * row + 1][column]
        above.imshow(picture)
        above.set_title(short(label), fontsize=11)
        colours = [TRUTH if name == label else OTHERS for name in names]
        below.barh(range(len(names)), values, color=colours, height=0.86)
        below.set_xlim(0.0, 1.0)
        below.set_ylim(len(names) - 0.5, -0.5)
        for at, name in enumerate(names):
            # Over a white edge the name is read on any bar.
            inside = below.text(0.02, at, short(name), fontsize=9, va="center", ha="left", color="#111111")
            inside.set_bbox({"facecolor": "white", "alpha": 0.72, "edgecolor": "none", "pad": 0.8})
    return figure
