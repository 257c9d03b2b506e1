"""The device that an experiment trains on, and what its page says of the training."""

from __future__ import annotations

from typing import Literal

import torch

from alexnet.errors import DeviceError

Device = Literal["auto", "cpu", "cuda"]


def choose_device(name: Device) -> torch.device:
    """Return the device to train on, `auto` a GPU where there is one; DeviceError when one is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("torch finds no NVIDIA GPU here; leave --device out or say --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def training_facts(digest: str, pictures: int, device: torch.device) -> dict[str, str]:
    """Return the facts of a page about trained networks: the data's digest, pictures trained on, and the device."""
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return {"data": digest, "training_pictures": f"{pictures:,}", "device": on}
