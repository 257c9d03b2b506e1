"""torchvision's alexnet: another net than the paper's, read from its state dict without running any of it.

It is that of "One weird trick for parallelizing convolutional neural networks" (2014): 64-192-384-256-256 kernels, one
column, no normalisation, padding of 2 on both sides at conv1. Its pixels are (x / 255 - mean) / deviation; here the
deviations become part of conv1's weights, which is the same also at the borders, since zeros stay zeros.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from alexnet.errors import ModelError
from alexnet.export.foreign import (
    LAYERS,
    Floats,
    ForeignNet,
    check_shapes,
    fold_dropout,
    origin_of,
    widths,
)
from alexnet.recipe import DataRecipe, NetworkRecipe, SgdRecipe

SIDE, CROP = 256, 224
# Of torchvision's ImageClassification preset, RGB, in units of 255.
COLOUR_MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
DROPOUT = 0.5
HINT = (
    "where you trust it, write its state dict with safetensors.torch.save_file(model.state_dict(), "
    "'alexnet.safetensors') and import that"
)
NAMES = {
    layer: f"{part}.{place}"
    for layer, (part, place) in zip(
        LAYERS,
        [*(("features", place) for place in (0, 3, 6, 8, 10)), *(("classifier", place) for place in (1, 4, 6))],
        strict=True,
    )
}


def read_torchvision(path: Path) -> ForeignNet:
    """Return the net of a state dict in `.safetensors` or `.pth`.

    Raises ModelError for a file that is neither, holds more than tensors, or lacks or misshapes a weight.
    """
    where = f"{path}, read as torchvision's alexnet"
    tensors = _from_safetensors(path) if is_safetensors(path) else _from_pickle(path)
    names = {f"{layer}.{kind}": f"{name}.{kind}" for layer, name in NAMES.items() for kind in ("weight", "bias")}
    missing = [name for name in names.values() if name not in tensors]
    strange = sorted(set(tensors) - set(names.values()))
    if missing or strange:
        found = f"{missing[0]} is missing" if missing else f"{strange[0]} is not of that net"
        raise ModelError(
            f"{where}: {found}; expected {len(names)} tensors, {', '.join(list(names.values())[:2])} to "
            f"{list(names.values())[-1]}: give the state dict of torchvision.models.alexnet"
        )
    weights = {mine: _floats(tensors[name], name, where) for mine, name in names.items()}
    kernels, hidden, classes = widths(weights)
    network = NetworkRecipe(
        classes=classes,
        columns=1,
        crop=CROP,
        kernels=kernels,
        hidden=hidden,
        sees=("both", "both", "both", "both", "both"),
        steps=(("relu", "pool"), ("relu", "pool"), ("relu",), ("relu",), ("relu", "pool")),
        conv1_padding="both",
        dropout=DROPOUT,
    )
    check_shapes(weights, network, names, where)
    scale = np.array(DEVIATION, dtype=np.float64).reshape(1, 3, 1, 1) * 255
    weights["conv1.weight"] = (weights["conv1.weight"] / scale).astype(np.float32)
    mean = (np.array(COLOUR_MEAN) * 255).astype(np.float32)
    folded = [
        "1 / 255 and 1 / deviation of each colour (0.229, 0.224, 0.225) in conv1",
        fold_dropout(weights, DROPOUT),
    ]
    differs = [
        "torchvision resizes the whole picture and takes the centre crop, here the part that is kept is resized by the "
        "same filter, and ten crops are averaged",
        "in training, dropout stood before fc6 and fc7; the recipe's stands after them",
    ]
    return ForeignNet(
        network,
        DataRecipe(picture=SIDE, mean="channel"),
        SgdRecipe(),
        weights,
        np.tile(mean, (SIDE, SIDE, 1)),
        origin_of("torchvision", path, None, "RGB", folded, differs),
    )


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: the length of a JSON header, and the header's brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def is_torch(path: Path) -> bool:
    """Return whether a file begins as torch.save's do: a zip archive, or a pickle of protocol 2 or later."""
    with path.open("rb") as file:
        start = file.read(4)
    return start == b"PK\x03\x04" or (start[:1] == b"\x80" and len(start) > 1 and 2 <= start[1] <= 5)


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; ModelError when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not whole safetensors ({error}); download it again") from None


def _from_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict that torch.save wrote; ModelError, with none of it run, for anything else."""
    _refuse_compressed(path)
    try:
        # Only the names that tensors are made of are looked up: nothing that the file names is called.
        with warnings.catch_warnings(action="ignore"):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make it raise nearly anything: UnpicklingError, EOFError, RuntimeError, KeyError, ...
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelError(
                f"{path} is a pickle that asks for {asked[1]}, not for tensors alone, and none of it was run; {HINT}"
            ) from None
        raise ModelError(
            f"{path} is truncated or damaged, or holds more than tensors, and none of it was run "
            f"({type(error).__name__}); download it again, or {HINT}"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ModelError(f"{path} holds {_described(found)}, expected a state dict of tensors; {HINT}")
    return {str(name): value for name, value in found.items()}


def _described(found: Any) -> str:
    """Return what a pickle held, in a few words."""
    keys = f" with {json.dumps([str(key) for key in found][:3])}" if isinstance(found, dict) else ""
    return f"a {type(found).__name__}{keys}"


def _refuse_compressed(path: Path) -> None:
    """Refuse a zip archive whose entries unpack to more than the file: torch.save stores them as they are.

    One without its directory, which stands last, is truncated, and refused here as well.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"{path} is a truncated or damaged archive ({error}); download it again") from None
    if unpacked > path.stat().st_size:
        raise ModelError(
            f"{path} unpacks to {unpacked:,} bytes, more than it has; torch.save does not compress: download it again"
        )


def _floats(tensor: Tensor, name: str, where: str) -> Floats:
    """Return a tensor as float32; ModelError for integers, and for a shape larger than the numbers that are there."""
    dense = tensor.layout == torch.strided
    if not tensor.is_floating_point() or not dense:
        raise ModelError(f"{where}: {name} holds {tensor.dtype} {tensor.layout}, expected dense floating point")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelError(
            f"{where}: {name} claims the shape {list(tensor.shape)} and holds fewer numbers; download it again"
        )
    if tensor.ndim == 0:
        raise ModelError(f"{where}: {name} is a single number, expected weights; give another file")
    return np.array(tensor.detach().float().numpy())
