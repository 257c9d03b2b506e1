"""Which layers cost the most: one layer quantised at a time, and how far the answers then move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerCost:
    """What quantising one layer alone does to the answers for `pictures` calibration pictures.

    `kl` is the mean Kullback-Leibler divergence from the float32 answers in nats, `changed` the share of pictures
    whose best class changes.
    """

    layer: str
    kl: float
    changed: float
    pictures: int

    def to_values(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def layer_cost(layer: str, expected: Floats, found: Floats) -> LayerCost:
    """Return the cost between probabilities [N, classes]; what is not finite costs infinity."""
    p, q = (np.maximum(values.astype(np.float64), 1e-12) for values in (expected, found))
    kl = float((p * np.log(p / q)).sum(axis=1).mean()) if np.isfinite(found).all() else np.inf
    changed = float((expected.argmax(axis=1) != found.argmax(axis=1)).mean())
    return LayerCost(layer, max(0.0, kl), changed, len(expected))


def ranked(
    layers: Sequence[str], expected: Floats, answers: Callable[[str], Floats], count: Callable[[int, int], None]
) -> list[LayerCost]:
    """Return the costs of the layers, dearest first; `answers` gives the answers with one layer quantised."""
    costs = []
    for place, layer in enumerate(layers, start=1):
        costs.append(layer_cost(layer, expected, answers(layer)))
        count(place, len(layers))
    return sorted(costs, key=lambda cost: -cost.kl)


def table(costs: Sequence[LayerCost]) -> str:
    """Return the costs as aligned text."""
    width = max([5, *(len(cost.layer) for cost in costs)])
    lines = [f"  {'layer':<{width}}  KL (nats)  best class changed"]
    lines += [f"  {cost.layer:<{width}}  {cost.kl:9.2e}  {cost.changed:18.2%}" for cost in costs]
    return "\n".join(lines)
