"""Evaluation: top-1 and top-5 error on the centre crop, and on the ten crops of section 4.1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from alexnet.crops import CROPS, centre_offset, ten_crops
from alexnet.train.columns import SplitNetwork
from alexnet.train.data.folder import Pictures
from alexnet.train.mesh import World
from alexnet.train.network import Network

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
AnyNetwork = Network | SplitNetwork


@dataclass(frozen=True)
class Errors:
    """Shares of pictures: `top1` whose best class is wrong, `top5` whose label is not among the five best.

    `loss` is the mean cross-entropy in nats.
    """

    top1: float
    top5: float
    loss: float


def to_input(values: Floats, divisor: float, device: torch.device) -> torch.Tensor:
    """Return centred pixels [N, c, c, 3] over `divisor` as the network's input, float32 [N, 3, c, c]."""
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2))).to(device)
    return planes if divisor == 1.0 else planes / divisor


def centre_probabilities(
    network: AnyNetwork, pictures: Pictures, mean: Floats, *, divisor: float = 1.0, batch: int = 128
) -> Iterator[torch.Tensor]:
    """Yield the softmax outputs [n, classes] of the centre crops, a batch at a time."""
    crop = network.architecture.crop
    first = centre_offset(mean.shape[0], crop)
    kept = slice(first, first + crop)
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            crops = pictures[start : start + batch][:, kept, kept].astype(np.float32) - mean[kept, kept]
            yield network(to_input(crops, divisor, _device(network))).float().softmax(dim=1).cpu()


def ten_crop_batches(
    network: AnyNetwork, pictures: Pictures, mean: Floats, *, divisor: float = 1.0, batch: int = 8
) -> Iterator[torch.Tensor]:
    """Yield [n, classes]: the average of the softmax outputs of each picture's ten crops, a batch at a time.

    The mean is subtracted from the whole picture before it is cropped and mirrored, as in training.
    """
    crop = network.architecture.crop
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            views = ten_crops(pictures[start : start + batch].astype(np.float32) - mean, crop)
            flat = views.reshape(-1, crop, crop, 3).astype(np.float32, copy=False)
            probabilities = network(to_input(flat, divisor, _device(network))).float().softmax(dim=1)
            yield probabilities.reshape(CROPS, -1, probabilities.shape[1]).mean(dim=0).cpu()


def ten_crop_probabilities(
    network: AnyNetwork, pictures: Pixels, mean: Floats, *, divisor: float = 1.0, batch: int = 8
) -> Floats:
    """Return float32 [N, classes]: the ten-crop answers of a network in test mode; its mode is restored."""
    training = network.training
    network.eval()
    answers = [part.numpy() for part in ten_crop_batches(network, pictures, mean, divisor=divisor, batch=batch)]
    network.train(training)
    return np.concatenate(answers)


def count_errors(batches: Iterator[torch.Tensor], labels: Labels) -> torch.Tensor:
    """Return float64 [wrong by one, wrong by five, summed loss, pictures] of probabilities in the order of `labels`."""
    wrong1 = wrong5 = first = 0
    loss = 0.0
    for probabilities in batches:
        truth = torch.from_numpy(labels[first : first + len(probabilities)])
        first += len(probabilities)
        best = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices
        wrong1 += int((best[:, 0] != truth).sum())
        wrong5 += int((best != truth[:, None]).all(dim=1).sum())
        loss -= float(probabilities.gather(1, truth[:, None]).clamp_min(1e-30).log().sum())
    return torch.tensor([wrong1, wrong5, loss, first], dtype=torch.float64)


def errors_of(counts: torch.Tensor) -> Errors:
    """Return counted errors (of one rank, or summed over several) as shares of all pictures."""
    wrong1, wrong5, loss, number = counts.tolist()
    return Errors(wrong1 / number, wrong5 / number, loss / number)


def evaluate_centre(
    network: AnyNetwork,
    pictures: Pictures,
    labels: Labels,
    mean: Floats,
    *,
    divisor: float = 1.0,
    batch: int = 128,
    world: World | None = None,
) -> Errors:
    """Return the errors on centre crops, every picture counted once over all ranks; the network's mode is restored."""
    world = world or World()
    training = network.training
    network.eval()
    share = world.share(len(labels))
    mine = centre_probabilities(network, pictures[share], mean, divisor=divisor, batch=batch)
    counts = world.sum_over_data(count_errors(mine, labels[share]))
    network.train(training)
    return errors_of(counts)


def _device(network: AnyNetwork) -> torch.device:
    """Return where the network's weights are."""
    return next(network.parameters()).device
