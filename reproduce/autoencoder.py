"""The autoencoder of section 6.1: features to short binary codes, so that a search need not compare real vectors.

The paper proposes it, where Krizhevsky and Hinton (ESANN 2011) had applied autoencoders to pixels. Here it has one
hidden layer on each side of the code. The code's units are made binary on the way forward and pass the gradient of tanh
on the way back (the straight-through estimator of Bengio, Leonard and Courville, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet.errors import InputError, missing_package
from alexnet.progress import Count
from alexnet.runtime.backends import Floats
from alexnet.runtime.retrieval.codes import Encoder

# Bytes of features that training holds; of more rows, so many are drawn.
MEMORY = 1 << 28


@dataclass(frozen=True)
class AutoencoderOptions:
    """How codes are trained: `bits` of a code, `hidden` units on each side, `epochs`, `batch` rows, and Adam's rate."""

    bits: int
    hidden: int = 512
    epochs: int = 5
    batch: int = 256
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """An encoder, the rows that trained it, and the share of their variance that the decoder does not give back."""

    encoder: Encoder
    rows: int
    error: float


def import_torch() -> Any:
    """Return torch; MissingPackageError when it is not installed."""
    try:
        import torch
    except ImportError:
        raise missing_package("torch", "train", "training codes (--codes)") from None
    return torch


def train_autoencoder(features: Floats, options: AutoencoderOptions, count: Count) -> Trained:
    """Return the encoder half of an autoencoder trained on the rows of features [N, F] without their labels.

    The loss is the mean squared error of centred features, scaled to unit variance as a whole. The same features and
    seed give the same encoder on one machine. Raises InputError when the features do not differ.
    """
    torch = import_torch()
    rows = _rows(features, options.seed)
    centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows -= centre
    spread = float(np.sqrt(np.mean(np.square(rows), dtype=np.float64)))
    if not spread > 0:
        raise InputError("all pictures have the same features, which codes cannot tell apart; index without --codes")
    rows /= spread
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        encoder, decoder = _networks(torch, rows.shape[1], options)
        error = _train(torch, encoder, decoder, torch.from_numpy(rows), options, count)
    first, second = encoder[0], encoder[2]
    tensors = (first.weight, first.bias, second.weight, second.bias)
    weights = [tensor.detach().numpy().copy() for tensor in tensors]
    return Trained(Encoder(centre, np.array(1 / spread, dtype=np.float32), *weights), len(rows), error)


def _rows(features: Floats, seed: int) -> Floats:
    """Return a copy of the rows that train: all, or as many at random as MEMORY holds."""
    most = MEMORY // (4 * features.shape[1])
    if len(features) <= most:
        return np.array(features, dtype=np.float32)
    chosen = np.sort(np.random.default_rng(seed).choice(len(features), most, replace=False))
    rows: Floats = features[chosen].astype(np.float32)
    return rows


def _networks(torch: Any, length: int, options: AutoencoderOptions) -> tuple[Any, Any]:
    """Return the two halves."""
    nn = torch.nn
    encoder = nn.Sequential(nn.Linear(length, options.hidden), nn.ReLU(), nn.Linear(options.hidden, options.bits))
    decoder = nn.Sequential(nn.Linear(options.bits, options.hidden), nn.ReLU(), nn.Linear(options.hidden, length))
    return encoder, decoder


def _train(torch: Any, encoder: Any, decoder: Any, rows: Any, options: AutoencoderOptions, count: Count) -> float:
    """Train both halves with Adam and a rate that falls to nothing, and return the last epoch's mean error."""
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, options.learning_rate)
    steps = -(-len(rows) // options.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps * options.epochs)
    error = 0.0
    for epoch in range(options.epochs):
        order, total = torch.randperm(len(rows)), 0.0
        for step in range(steps):
            batch = rows[order[step * options.batch : (step + 1) * options.batch]]
            soft = torch.tanh(encoder(batch))
            code = soft + (torch.where(soft > 0, 1.0, -1.0) - soft).detach()
            loss = torch.nn.functional.mse_loss(decoder(code), batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(batch)
            count(epoch * steps + step + 1, options.epochs * steps)
        error = total / len(rows)
    return error
