"""The device that an experiment trains on, the digest of its data, and what its page says of the training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from alexnet.errors import DeviceError
from alexnet.prepared import is_prepared
from alexnet.reproduce.device_option import Device
from alexnet.reproduce.page import data_digest
from alexnet.train.data.folder import Part


def choose_device(name: Device) -> torch.device:
    """Return the device to train on, `auto` a GPU where there is one; DeviceError when one is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("torch finds no NVIDIA GPU here; leave --device out or say --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def digest_of_parts(path: Path, parts: Sequence[Part]) -> str:
    """Return the SHA-256 of prepared data's index, or of the pixels of all pictures of a folder, read as `parts`."""
    pictures = () if is_prepared(path) else (picture for part in parts for picture in part.pictures[:])
    return data_digest(path, [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures])


def training_facts(digest: str, pictures: int, device: torch.device) -> dict[str, str]:
    """Return the facts of a page about trained networks: the data's digest, pictures trained on, and the device."""
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return {"data": digest, "training_pictures": f"{pictures:,}", "device": on}
