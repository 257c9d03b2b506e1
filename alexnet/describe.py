"""The printed layer table: what `alexnet describe` shows, as text or as plain values."""

from __future__ import annotations

from typing import Any

from alexnet.architecture import Architecture, Conv, Dropout, MapNorm, Pool, Relu, ResponseNorm, Row, Step


def table_values(architecture: Architecture) -> list[dict[str, Any]]:
    """Return one dictionary a layer: name, what it does, output shape [maps, side, side], and the three counts."""
    return [
        {
            "layer": row.layer.name,
            "operation": operation(row),
            "output": [row.output.channels, row.output.side, row.output.side],
            "neurons": row.neurons,
            "parameters": row.parameters,
            "macs": row.macs,
        }
        for row in architecture.rows()
    ]


def operation(row: Row) -> str:
    """Return a layer in words: kernels, stride, padding, what it sees, and the steps after it in order."""
    layer = row.layer
    if isinstance(layer, Conv):
        head = f"{layer.size}x{layer.size}/{layer.stride}, pad {layer.pad[0]}+{layer.pad[1]}"
        head += f", {row.groups} columns apart" if row.groups > 1 else ", sees all maps"
    else:
        head = f"{row.input.size} -> {layer.neurons}"
    return "; ".join([head, *(_step_words(step) for step in layer.steps)])


def _step_words(step: Step) -> str:
    """Return one step in words, with the constants that matter."""
    match step:
        case Relu():
            return "ReLU"
        case ResponseNorm():
            return f"LRN {step.size} ({step.scope})"
        case MapNorm():
            return f"norm {step.size}x{step.size} in map"
        case Pool():
            return f"pool {step.size}/{step.stride}"
        case Dropout():
            return f"dropout {step.rate:g}"


def describe_text(architecture: Architecture) -> str:
    """Return the table as aligned text, with totals and, for the paper's net, its own slip on layer 1."""
    header = ("layer", "operation", "output", "neurons", "parameters", "MACs")
    lines = [
        (
            str(values["layer"]),
            str(values["operation"]),
            " x ".join(str(side) for side in values["output"]),
            f"{values['neurons']:,}",
            f"{values['parameters']:,}",
            f"{values['macs']:,}",
        )
        for values in table_values(architecture)
    ]
    rows = list(architecture.rows())
    total = (
        "total",
        f"input {architecture.channels} x {architecture.crop} x {architecture.crop}, {architecture.columns} columns",
        "",
        f"{sum(row.neurons for row in rows):,}",
        f"{architecture.parameters:,}",
        f"{sum(row.macs for row in rows):,}",
    )
    cells = [header, *lines, total]
    widths = [max(len(line[place]) for line in cells) for place in range(len(header))]
    text = "\n".join(
        "  ".join(
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )
    if rows[0].neurons == 290_400:
        text += (
            "\n\nThe paper prints 253,440 neurons for layer 1, which is 96 x 55 x 48; its maps are 55 x 55, so 290,400."
            "\nThe output is after pooling; neurons are counted before it, as the paper does."
        )
    return text
