"""Evaluation: top-1 and top-5 error on one crop, and the ten-crop answers of section 4.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from alexnet.crops import CROPS, centre_offset, ten_crops
from alexnet.train.network import Network

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Errors:
    """Shares of pictures: `top1` whose best class is wrong, `top5` whose label is not among the five best."""

    top1: float
    top5: float
    loss: float


def crops_to_tensor(crops: npt.NDArray[np.generic], mean: Floats) -> torch.Tensor:
    """Return crops uint8 [N, c, c, 3] less the mean of the same pixels, as float32 [N, 3, c, c]."""
    values = crops.astype(np.float32) - mean
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def centre_logits(network: Network, pictures: Pixels, mean: Floats) -> torch.Tensor:
    """Return the logits [N, classes] of the centre crops of pictures [N, S, S, 3]."""
    crop = network.architecture.crop
    first = centre_offset(pictures.shape[1], crop)
    kept = slice(first, first + crop)
    logits: torch.Tensor = network(crops_to_tensor(pictures[:, kept, kept], mean[kept, kept]))
    return logits.float()


def evaluate_centre(
    network: Network, pictures: Pixels, labels: npt.NDArray[np.int64], mean: Floats, *, batch: int = 128
) -> Errors:
    """Return the errors on centre crops, every picture counted once; the network's mode is restored."""
    wrong1 = wrong5 = 0
    loss = 0.0
    training = network.training
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(pictures), batch):
            logits = centre_logits(network, pictures[first : first + batch], mean)
            truth = torch.from_numpy(labels[first : first + batch])
            loss += float(torch.nn.functional.cross_entropy(logits, truth, reduction="sum"))
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices
            wrong1 += int((best[:, 0] != truth).sum())
            wrong5 += int((best != truth[:, None]).all(dim=1).sum())
    network.train(training)
    number = len(pictures)
    return Errors(wrong1 / number, wrong5 / number, loss / number)


def ten_crop_probabilities(network: Network, pictures: Pixels, mean: Floats, *, batch: int = 8) -> Floats:
    """Return float32 [N, classes]: the average of the softmax outputs of each picture's ten crops.

    The mean is subtracted from the whole picture before it is cropped and mirrored, as in training.
    """
    crop = network.architecture.crop
    answers = []
    training = network.training
    network.eval()
    with torch.inference_mode():
        for first in range(0, len(pictures), batch):
            values = pictures[first : first + batch].astype(np.float32) - mean
            views = ten_crops(values, crop)
            flat = views.reshape(-1, crop, crop, 3).transpose(0, 3, 1, 2)
            logits = network(torch.from_numpy(np.ascontiguousarray(flat))).float()
            probabilities = logits.softmax(dim=1).reshape(CROPS, -1, logits.shape[1]).mean(dim=0)
            answers.append(probabilities.numpy())
    network.train(training)
    return np.concatenate(answers)
