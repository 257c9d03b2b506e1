"""What every layer of the training network answers for one crop: the expectation that travels in the parity pack.

The names are those of the layer table (`alexnet.architecture.named_steps`), which the nodes of the ONNX graph carry
too. Dropout is not listed: at test time it is a factor, which the graph folds into the weights that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet.architecture import Dropout, named_steps
from alexnet.crops import centre_offset
from alexnet.train.network import Network

Floats = npt.NDArray[np.float32]


def centre_crop(picture: npt.NDArray[np.uint8], mean: Floats, crop: int) -> Floats:
    """Return the centre crop of a picture [S, S, 3] less the mean image [S, S, 3]: float32 [3, crop, crop]."""
    first = centre_offset(mean.shape[0], crop)
    kept = slice(first, first + crop)
    centred = picture[kept, kept].astype(np.float32) - mean[kept, kept]
    return np.ascontiguousarray(centred.transpose(2, 0, 1))


def layer_outputs(network: Network, crop: Floats, divisor: float = 1.0) -> dict[str, Floats]:
    """Return the outputs of a network in test mode for one crop, in the order of computation.

    `crop` is float32 [3, c, c], pixels less the mean and not yet over `divisor`; it is the first entry, `crops`.
    The others are conv1, relu1, lrn1, pool1, ..., fc8: float32 [channels, H, W] of a convolution and its steps,
    [neurons] of a fully connected layer and its steps. The network's mode is restored.
    """
    found: dict[str, Floats] = {"crops": crop.astype(np.float32)}
    handles = [module.register_forward_hook(_keeper(found, name)) for name, module in _named_modules(network)]
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            centred = torch.tensor(crop[None], device=next(network.parameters()).device)
            network(centred if divisor == 1.0 else centred / divisor)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    return found


def _named_modules(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of a network's layers and steps with their names in the layer table, dropout left out."""
    stages = zip(network.stages, network.architecture.layers, strict=True)
    for number, ((layer_name, modules), layer) in enumerate(stages, start=1):
        yield layer_name, network.get_submodule(layer_name)
        for (name, step), module in zip(named_steps(number, layer), modules, strict=True):
            if not isinstance(step, Dropout):
                yield name, network.get_submodule(module)


def _keeper(found: dict[str, Floats], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    """Return a forward hook that keeps a module's output for the first crop as `name`."""

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found[name] = output[0].float().cpu().numpy().copy()

    return keep
