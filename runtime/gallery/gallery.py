"""What the page shows of one picture: its crops, its five classes, the nearest pictures. Nothing is written."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.crops import CROPS, centre_offset, ten_crops
from alexnet.decoding import decode_picture
from alexnet.pictures import load_picture, square
from alexnet.runtime.backends import Backend, Floats
from alexnet.runtime.classify import best_places, check_finite
from alexnet.runtime.ensemble import with_features
from alexnet.runtime.gallery.neighbours import Neighbours

Pixels = npt.NDArray[np.uint8]
# Classes and neighbours that are shown, as in Figure 4.
TOP, NEAREST = 5, 6
FIVE = ("top left", "top right", "bottom left", "bottom right", "centre")
VIEWS = (*FIVE, *(f"{name}, mirrored" for name in FIVE))
JPEG_QUALITY = 90


@dataclass
class Gallery:
    """A model, and the pictures among which neighbours are looked for; None where it gives no features or none are had.

    One picture is decoded and classified at a time, whatever the number of requests: the memory that hostile pictures
    can claim is that of one.
    """

    backend: Backend
    neighbours: Neighbours | None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def facts(self) -> dict[str, Any]:
        """Return what the page says of the model."""
        metadata = self.backend.metadata
        return {
            "name": metadata.name,
            "classes": len(metadata.labels),
            "crops": metadata.crops,
            "crop": metadata.crop,
            "side": metadata.preprocessing.side,
            "runs": f"{self.backend.name} on {self.backend.device}, {self.backend.precision}",
            "checkpoint": metadata.checkpoint_sha256,
            "toolchain": metadata.toolchain_version,
            "neighbours": len(self.neighbours.paths) if self.neighbours else 0,
        }

    def answer(self, data: bytes) -> dict[str, Any]:
        """Return the crops, the best classes and the nearest pictures of an encoded picture, as JSON values.

        Raises PictureError when it cannot be decoded (`alexnet.decoding`), ModelError for an answer that is no number.
        """
        metadata = self.backend.metadata
        with self._turn:
            pixels = square(decode_picture(data, "this file"), metadata.preprocessing)
            probabilities, features = self._ask(pixels[None])
        check_finite(probabilities)
        best = best_places(probabilities[0], TOP)
        return {
            "picture": _uri(pixels),
            "crops": [
                {"name": name, "picture": _uri(crop)}
                for name, crop in zip(*crops_of(pixels, metadata.crop, metadata.crops), strict=True)
            ],
            "answers": [
                {"label": metadata.labels[place], "probability": float(probabilities[0, place])} for place in best
            ],
            "neighbours": [] if features is None else self._nearest(features),
        }

    def neighbour_picture(self, place: int) -> bytes | None:
        """Return a neighbour as the network sees it, as a JPEG; None when there is no such one.

        Raises PictureError when its file has gone or changed for the worse since the gallery was opened.
        """
        if self.neighbours is None or not 0 <= place < len(self.neighbours.paths):
            return None
        with self._turn:
            return _jpeg(load_picture(self.neighbours.paths[place], self.backend.metadata.preprocessing))

    def _ask(self, pictures: Pixels) -> tuple[Floats, Floats | None]:
        """Return the probabilities [1, classes], and the features [F], the mean over the crops, where they are used."""
        if self.neighbours is None:
            return self.backend.probabilities(pictures), None
        probabilities, layer = with_features(self.backend).probabilities_and_features(pictures)
        return probabilities, layer[0].mean(axis=0, dtype=np.float64).astype(np.float32)

    def _nearest(self, features: Floats) -> list[dict[str, Any]]:
        """Return the nearest pictures."""
        assert self.neighbours is not None
        return [
            {
                "place": place,
                "name": self.neighbours.paths[place].name.encode("utf-8", "backslashreplace").decode(),
                "label": self.neighbours.labels[place],
                "distance": distance,
            }
            for place, distance in self.neighbours.nearest(features, NEAREST)
        ]


def crops_of(pixels: Pixels, crop: int, crops: int) -> tuple[tuple[str, ...], Pixels]:
    """Return the names and pixels [crops, crop, crop, 3] of what a model sees of a picture [S, S, 3].

    There are none for a plan whose crops nobody knows (`alexnet.runtime.trusted`).
    """
    if crop < 1:
        return (), pixels[:0, None]
    if crops == CROPS:
        return VIEWS, np.asarray(ten_crops(pixels[None], crop)[:, 0], dtype=np.uint8)
    first = centre_offset(pixels.shape[0], crop)
    return (VIEWS[4],), pixels[None, first : first + crop, first : first + crop]


def _jpeg(pixels: Pixels) -> bytes:
    """Return pixels uint8 [H, W, 3] as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _uri(pixels: Pixels) -> str:
    """Return pixels as the URI of a JPEG."""
    return f"data:image/jpeg;base64,{base64.b64encode(_jpeg(pixels)).decode()}"
