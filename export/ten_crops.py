"""The ends of the graph: from pictures to crops, and from the crops' logits to one answer.

Section 4.1: five crops and their mirrors are classified and the ten softmax outputs averaged. Inside the graph
this moves 30 times less data to the device than ten float crops, and leaves no preprocessing to get wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from alexnet.crops import CROPS, centre_offset, five_offsets
from alexnet.export.builder import GraphBuilder
from alexnet.export.options import Crops, Input
from alexnet.metadata import INPUT, OUTPUT


def planes_from_pictures(graph: GraphBuilder, form: Input) -> str:
    """Append pictures uint8 [N, S, S, 3] -> float planes [N, 3, S, S], which a `float` input already is."""
    if form == "float":
        return INPUT
    floats = graph.node("Cast", [INPUT], "to_float", to=TensorProto.FLOAT)
    return graph.node("Transpose", [floats], "to_planes", perm=[0, 3, 1, 2])


def subtract_mean(graph: GraphBuilder, planes: str, mean: npt.NDArray[np.float32]) -> str:
    """Append planes [N, 3, S, S] less the mean image [S, S, 3], the whole of it and before cropping, as in training."""
    return graph.node("Sub", [planes, graph.constant("mean_image", mean.transpose(2, 0, 1))], "subtract_mean")


def crops_from_planes(graph: GraphBuilder, planes: str, side: int, crop: int, crops: Crops) -> str:
    """Append planes [N, 3, side, side] -> crops [M, 3, crop, crop]; return their name, `crops`.

    Ten crops stand in the order of `alexnet.crops.ten_crops`: five of every picture, then their mirrors (M = 10 N).
    One crop is the centre one (M = N).
    """
    if crops == "one":
        middle = centre_offset(side, crop)
        return graph.slice(planes, "crops", [middle] * 2, [middle + crop] * 2, [2, 3])
    five = [
        graph.slice(planes, f"crop{place}", [y, x], [y + crop, x + crop], [2, 3])
        for place, (y, x) in enumerate(five_offsets(side, crop))
    ]
    upright = graph.node("Concat", five, "five_crops", axis=0)
    return graph.node("Concat", [upright, graph.mirror(upright, "mirror", crop)], "crops", axis=0)


def probabilities_of_crops(graph: GraphBuilder, logits: str, classes: int, crops: Crops, output: str | None) -> str:
    """Append logits [M, classes] -> the average of each picture's softmax outputs, [N, classes], named `output`."""
    if crops == "one":
        return graph.node("Softmax", [logits], "softmax", output=output, axis=1)
    probabilities = graph.node("Softmax", [logits], "softmax", axis=1)
    shape = graph.integers("by_crop/shape", [CROPS, -1, classes])
    by_crop = graph.node("Reshape", [probabilities, shape], "by_crop")
    return graph.node(
        "ReduceMean", [by_crop, graph.integers("average/axis", [0])], "average", output=output, keepdims=0
    )


def average_of_networks(graph: GraphBuilder, answers: list[str]) -> None:
    """Append the mean of several networks' answers [N, classes], as in Table 2: the graph's output."""
    graph.node("Mean", answers, "ensemble", output=OUTPUT)
