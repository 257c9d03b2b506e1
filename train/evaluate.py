"""Evaluation: top-1 and top-5 error on the centre crop, and on the ten crops of section 4.1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from alexnet.crops import CROPS, centre_offset, five_offsets
from alexnet.train.columns import SplitNetwork
from alexnet.train.data.folder import Pictures
from alexnet.train.mesh import World
from alexnet.train.network import Network
from alexnet.train.readers import read_ahead, reader_threads

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


def centre_views(pictures: Pixels, mean: torch.Tensor, crop: int, divisor: float) -> torch.Tensor:
    """Return the centre crops as the network's input: float32 [n, 3, crop, crop], less the mean, over `divisor`.

    `pictures` is uint8 [n, S, S, 3] and `mean` float32 [S, S, 3] on a device: bytes travel there, where the arithmetic
    is done.
    """
    first = centre_offset(mean.shape[0], crop)
    kept = slice(first, first + crop)
    return _planes(torch.tensor(pictures[:, kept, kept], device=mean.device) - mean[kept, kept], divisor)


def ten_views(pictures: Pixels, mean: torch.Tensor, crop: int, divisor: float) -> torch.Tensor:
    """Return the ten crops as the network's input: float32 [10 * n, 3, crop, crop], in the order of `ten_crops`.

    The arguments are those of `centre_views`. The mean is subtracted from the whole picture before it is cropped and
    mirrored, as in training.
    """
    whole = torch.tensor(pictures, device=mean.device) - mean
    five = [whole[:, y : y + crop, x : x + crop] for y, x in five_offsets(mean.shape[0], crop)]
    return _planes(torch.cat([*five, *(part.flip(2) for part in five)]), divisor)


def _planes(values: torch.Tensor, divisor: float) -> torch.Tensor:
    """Return values [n, c, c, 3] as [n, 3, c, c], over `divisor`; a GPU takes them in the order they lie in."""
    planes = values.permute(0, 3, 1, 2)
    planes = planes.contiguous() if planes.device.type == "cpu" else planes
    return planes if divisor == 1.0 else planes / divisor


def centre_probabilities(
    network: AnyNetwork,
    pictures: Pictures,
    mean: Floats,
    *,
    divisor: float = 1.0,
    batch: int = 128,
    part: slice = slice(None),
) -> Iterator[torch.Tensor]:
    """Yield the softmax outputs [n, classes] of the centre crops of the pictures of `part`, a batch at a time."""
    crop, there = network.architecture.crop, torch.tensor(mean, device=_device(network))
    with torch.inference_mode():
        for read in read_ahead(pictures, part, batch, reader_threads(there.device)):
            crops = centre_views(read, there, crop, divisor)
            yield network(crops).float().softmax(dim=1).cpu()


def ten_crop_batches(
    network: AnyNetwork, pictures: Pictures, mean: Floats, *, divisor: float = 1.0, batch: int = 8
) -> Iterator[torch.Tensor]:
    """Yield [n, classes]: the average of the softmax outputs of each picture's ten crops, a batch at a time."""
    crop, there = network.architecture.crop, torch.tensor(mean, device=_device(network))
    with torch.inference_mode():
        for read in read_ahead(pictures, slice(None), batch, reader_threads(there.device)):
            crops = ten_views(read, there, crop, divisor)
            probabilities = network(crops).float().softmax(dim=1)
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
    mine = centre_probabilities(network, pictures, mean, divisor=divisor, batch=batch, part=share)
    counts = world.sum_over_data(count_errors(mine, labels[share]))
    network.train(training)
    return errors_of(counts)


def _device(network: AnyNetwork) -> torch.device:
    """Return where the network's weights are."""
    return next(network.parameters()).device
