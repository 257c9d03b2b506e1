"""Statistics of a training set: the mean image (section 2) and the colours' principal components (section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from alexnet.errors import InputError
from alexnet.files import write_bytes
from alexnet.train.data.folder import Pictures

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """What training subtracts and how it shifts colours; all in units of pixel values 0..255.

    `mean` is [S, S, 3]; `covariance` the 3x3 covariance of the RGB values of all pixels of all pictures,
    `eigenvalues` [3] its variances, largest first, and `eigenvectors` [3, 3] their directions, one a column.
    """

    mean: Floats
    covariance: Floats
    eigenvalues: Floats
    eigenvectors: Floats

    def with_mean(self, mean: str) -> Statistics:
        """Return the statistics with the mean of a recipe: "pixel" as it is, "channel" levelled over the image."""
        if mean == "pixel":
            return self
        level = np.broadcast_to(self.mean.mean(axis=(0, 1), dtype=np.float64).astype(np.float32), self.mean.shape)
        return replace(self, mean=np.ascontiguousarray(level))

    def save(self, path: Path) -> None:
        """Write the statistics as safetensors, atomically."""
        tensors = {
            "mean": np.ascontiguousarray(self.mean),
            "covariance": self.covariance,
            "eigenvalues": self.eigenvalues,
            "eigenvectors": np.ascontiguousarray(self.eigenvectors),
        }
        write_bytes(path, save(tensors))

    @staticmethod
    def load(path: Path) -> Statistics:
        """Return the statistics in a file; InputError when it is missing or damaged."""
        try:
            tensors = load_file(path)
            return Statistics(tensors["mean"], tensors["covariance"], tensors["eigenvalues"], tensors["eigenvectors"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{path} does not hold a training set's statistics ({error}); train again") from None


def measure_statistics(pictures: Pictures, mean: str, block: int = 256) -> Statistics:
    """Return the statistics of pictures uint8 [N, S, S, 3], read a block of pictures at a time.

    `mean` is "pixel" for the mean image or "channel" for one value a channel, repeated over the image.
    """
    number = len(pictures)
    side = pictures[:1].shape[1]
    pixels = np.zeros((side, side, 3), dtype=np.int64)
    products = np.zeros((3, 3), dtype=np.float64)
    for first in range(0, number, block):
        part = pictures[first : first + block]
        pixels += part.sum(axis=0, dtype=np.int64)
        values = part.reshape(-1, 3).astype(np.float64)
        products += values.T @ values
    return statistics_from_sums(pixels, products, number, mean)


def statistics_from_sums(
    pixels: npt.NDArray[np.int64], products: npt.NDArray[np.float64], number: int, mean: str
) -> Statistics:
    """Return the statistics of `number` pictures from the sum of their pixels [S, S, 3] and of RGB products [3, 3]."""
    side = pixels.shape[0]
    image = pixels / number
    colour = image.mean(axis=(0, 1))
    if mean == "channel":
        image = np.broadcast_to(colour, image.shape)
    covariance = products / (number * side * side) - np.outer(colour, colour)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Statistics(
        mean=image.astype(np.float32),
        covariance=covariance.astype(np.float32),
        eigenvalues=eigenvalues[::-1].clip(0).astype(np.float32),
        eigenvectors=eigenvectors[:, ::-1].astype(np.float32),
    )
