"""How many bytes cross between ranks in one training step, from the layer table alone.

The columns' activations cross where Figure 2 of the paper crosses, and return as gradients; ranks that share batches
add up their gradients of every weight. What `alexnet plan` predicts from, and what the tests hold against the bytes
that real ranks receive.
"""

from __future__ import annotations

from alexnet.architecture import Architecture, Conv, Layer, Pool, ResponseNorm

# Bytes of a float32: activations and gradients cross in it.
FLOAT = 4
# The crossing whose gradients do not return: from the gathered logits every column computes the same loss.
LOGITS = "logits"


def shares(size: int, columns: int) -> list[int]:
    """Return how many of `size` maps, neurons or classes each column holds; the first ones hold what is left over."""
    return [size // columns + (column < size % columns) for column in range(columns)]


def expected_traffic(architecture: Architecture, batch: int) -> dict[str, int]:
    """Return the bytes that one column of equal shares receives in a forward pass, by the layer they go into.

    Layers that see both columns receive the others' maps (Figure 2), and so does layer-wide normalisation.
    """
    others, columns = architecture.columns - 1, architecture.columns
    if not others:
        return {}
    received = {}
    for place, row in enumerate(architecture.rows()):
        layer = row.layer
        if place and (not isinstance(layer, Conv) or layer.sees == "both"):
            received[layer.name] = batch * row.input.size * others // columns * FLOAT
        for side in _layer_wide_norms(layer, row.made.side):
            name = f"{layer.name}.lrn"
            values = batch * row.made.channels * side**2 * others // columns
            received[name] = received.get(name, 0) + values * FLOAT
    received[LOGITS] = batch * architecture.classes * others // columns * FLOAT
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


def returned_traffic(architecture: Architecture, batch: int) -> dict[str, int]:
    """Return the bytes that one column receives in the backward pass: those of the forward pass but the logits'."""
    return {name: size for name, size in expected_traffic(architecture, batch).items() if name != LOGITS}


def gradient_bytes(architecture: Architecture, columns: int) -> int:
    """Return the bytes of one rank's gradients where the network is spread over `columns` ranks in equal shares."""
    return architecture.parameters * FLOAT // columns
