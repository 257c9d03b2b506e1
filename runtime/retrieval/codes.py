"""Short binary codes of features, searched by Hamming distance (section 6.1), in NumPy.

The encoder is the half of an autoencoder that `alexnet index --codes` trained: one hidden layer, then a bit for each
output that is above zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from alexnet.errors import InputError
from alexnet.files import write_bytes
from alexnet.progress import Count
from alexnet.runtime.backends import Floats

Codes = npt.NDArray[np.uint8]
# Rows encoded at once.
BLOCK = 1024


@dataclass(frozen=True)
class Encoder:
    """Features [F] to bits: (x - centre) * scale, `hidden` [H, F], bias and ReLU, `out` [bits, H] and bias, then > 0.

    `centre` is [F], `scale` one number; all are float32.
    """

    centre: Floats
    scale: Floats
    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats

    @property
    def bits(self) -> int:
        """The length of a code in bits, a multiple of 8."""
        return len(self.out)

    def encode(self, features: Floats) -> Codes:
        """Return the codes uint8 [N, bits / 8] of features [N, F]."""
        hidden = np.maximum((features - self.centre) * self.scale @ self.hidden.T + self.hidden_bias, 0)
        return np.packbits(hidden @ self.out.T + self.out_bias > 0, axis=1)

    def encode_all(self, features: Floats, count: Count) -> Codes:
        """Return the codes of features that may be a file mapped into memory, block by block."""
        codes = np.empty((len(features), self.bits // 8), dtype=np.uint8)
        for first in range(0, len(features), BLOCK):
            codes[first : first + BLOCK] = self.encode(np.array(features[first : first + BLOCK]))
            count(min(first + BLOCK, len(features)), len(features))
        return codes


_TENSORS = ("centre", "scale", "hidden", "hidden_bias", "out", "out_bias")


def save_codes(path: Path, encoder: Encoder, codes: Codes) -> None:
    """Write an encoder and its codes uint8 [N, bits / 8] as one safetensors file, so that they agree."""
    tensors = {name: np.ascontiguousarray(getattr(encoder, name)) for name in _TENSORS}
    write_bytes(path, save({**tensors, "codes": codes}))


def load_codes(path: Path, rows: int, length: int, bits: int) -> tuple[Encoder, Codes]:
    """Return the encoder and the codes in a file; InputError unless they are of `bits`, for `rows` rows of `length`."""
    try:
        tensors = load_file(path)
        encoder, codes = Encoder(*(tensors[name] for name in _TENSORS)), tensors["codes"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}); index again with --codes") from None
    shapes = (codes.shape, encoder.out.shape[:1], encoder.hidden.shape[1:])
    if shapes != ((rows, bits // 8), (bits,), (length,)):
        raise InputError(f"{path} is not of the features beside it; index again with --codes")
    return encoder, codes


def nearest_codes(codes: Codes, code: Codes, number: int) -> list[tuple[int, float]]:
    """Return the rows of codes [N, B] nearest to a code [B], nearest first, with the bits that differ.

    Rows at the same distance keep their order.
    """
    number = min(number, len(codes))
    if not number:
        return []
    word = np.uint64 if codes.shape[1] % 8 == 0 else np.uint8
    distances = np.zeros(len(codes), dtype=np.uint16)
    for column, one in zip(codes.view(word).T, code.view(word), strict=True):
        distances += np.bitwise_count(column ^ one)
    rows = np.flatnonzero(distances <= np.partition(distances, number - 1)[number - 1])
    order = np.argsort(distances[rows], kind="stable")[:number]
    return [(int(rows[place]), float(distances[rows[place]])) for place in order]
