"""How many bytes cross between ranks in one training step, from the layer table alone.

The columns' activations cross where Figure 2 of the paper crosses, and return as gradients; ranks that share batches
add up their gradients of every weight. What `alexnet plan` predicts from, and what the tests hold against the bytes
that real ranks receive.
"""

from __future__ import annotations

from alexnet.architecture import Architecture, Conv, Layer, Pool, ResponseNorm
from alexnet.recipe import Precision

# Bytes of a float32: weights and their gradients are kept in it, whatever the network computes in.
FLOAT = 4
# Bytes of an activation that crosses, and of its gradient: what autocast lets convolutions and matrices put out.
ACTIVATION: dict[Precision, int] = {"fp32": FLOAT, "tf32": FLOAT, "bf16": 2}
# The crossing whose gradients do not return: from the gathered logits every column computes the same loss.
LOGITS = "logits"


def shares(size: int, columns: int) -> list[int]:
    """Return how many of `size` maps, neurons or classes each column holds; the first ones hold what is left over."""
    return [size // columns + (column < size % columns) for column in range(columns)]


def expected_traffic(architecture: Architecture, batch: int, precision: Precision = "fp32") -> dict[str, int]:
    """Return the bytes that one column of equal shares receives in a forward pass, by the layer they go into.

    Layers that see both columns receive the others' maps (Figure 2), and so does layer-wide normalisation.
    """
    others, columns, size = architecture.columns - 1, architecture.columns, ACTIVATION[precision]
    if not others:
        return {}
    received = {}
    for place, row in enumerate(architecture.rows()):
        layer = row.layer
        if place and (not isinstance(layer, Conv) or layer.sees == "both"):
            received[layer.name] = batch * row.input.size * others // columns * size
        for side in _layer_wide_norms(layer, row.made.side):
            name = f"{layer.name}.lrn"
            values = batch * row.made.channels * side**2 * others // columns
            received[name] = received.get(name, 0) + values * size
    received[LOGITS] = batch * architecture.classes * others // columns * size
    return received


def _layer_wide_norms(layer: Layer, side: int) -> list[int]:
    """Return the side of the maps that each layer-wide normalisation of a layer gathers."""
    sides = []
    for step in layer.steps:
        if isinstance(step, ResponseNorm) and step.scope == "layer":
            sides.append(side)
        if isinstance(step, Pool):
            side = step.output(side)
    return sides


def returned_traffic(architecture: Architecture, batch: int, precision: Precision = "fp32") -> dict[str, int]:
    """Return the bytes that one column receives in the backward pass: those of the forward pass but the logits'."""
    forward = expected_traffic(architecture, batch, precision)
    return {name: size for name, size in forward.items() if name != LOGITS}


def gradient_bytes(architecture: Architecture, columns: int) -> int:
    """Return the bytes of one rank's gradients where the network is spread over `columns` ranks in equal shares."""
    return architecture.parameters * FLOAT // columns
