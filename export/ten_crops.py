"""The ends of the ten-crop graph: from uint8 pictures to crops, and from the crops' logits to one answer.

Section 4.1: five crops and their mirrors are classified and the ten softmax outputs averaged. Inside the graph
this moves 30 times less data to the device than ten float crops, and leaves no preprocessing to get wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from alexnet.crops import CROPS, five_offsets
from alexnet.export.builder import GraphBuilder
from alexnet.metadata import INPUT, OUTPUT


def crops_from_pictures(graph: GraphBuilder, mean: npt.NDArray[np.float32], crop: int) -> str:
    """Append pictures uint8 [N, S, S, 3] -> crops float [10 N, 3, crop, crop], less the mean; return their name.

    The mean image [S, S, 3] is subtracted from the whole picture before cropping, as in training. The order is
    that of `alexnet.crops.ten_crops`: five crops of every picture, then their mirrors.
    """
    side = mean.shape[0]
    floats = graph.node("Cast", [INPUT], "to_float", to=TensorProto.FLOAT)
    centred = graph.node("Sub", [floats, graph.constant("mean_image", mean)], "subtract_mean")
    planes = graph.node("Transpose", [centred], "to_planes", perm=[0, 3, 1, 2])
    axes = graph.integers("crop_axes", [2, 3])
    five = []
    for place, (y, x) in enumerate(five_offsets(side, crop)):
        starts = graph.integers(f"crop{place}/first", [y, x])
        ends = graph.integers(f"crop{place}/end", [y + crop, x + crop])
        five.append(graph.node("Slice", [planes, starts, ends, axes], f"crop{place}"))
    upright = graph.node("Concat", five, "five_crops", axis=0)
    backwards = [
        graph.integers(f"mirror/{name}", [value])
        for name, value in (("first", crop - 1), ("end", -(crop + 1)), ("axis", 3), ("step", -1))
    ]
    mirrored = graph.node("Slice", [upright, *backwards], "mirror")
    return graph.node("Concat", [upright, mirrored], "crops", axis=0)


def average_of_crops(graph: GraphBuilder, logits: str, classes: int) -> None:
    """Append logits [10 N, classes] -> the average of each picture's ten softmax outputs, [N, classes]."""
    probabilities = graph.node("Softmax", [logits], "softmax", axis=1)
    shape = graph.integers("by_crop/shape", [CROPS, -1, classes])
    by_crop = graph.node("Reshape", [probabilities, shape], "by_crop")
    axis = graph.integers("average/axis", [0])
    graph.node("ReduceMean", [by_crop, axis], "average", output=OUTPUT, keepdims=0)
