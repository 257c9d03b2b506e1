from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from alexnet.architecture import layer_table
from alexnet.recipe import NetworkRecipe
from alexnet.train.layer_outputs import centre_crop, layer_outputs
from alexnet.train.network import Network

TINY = NetworkRecipe(width=1 / 16, crop=64, classes=7)


def network(recipe: NetworkRecipe = TINY) -> Network:
    torch.manual_seed(0)
    return Network(layer_table(recipe))


CROP = np.random.default_rng(0).normal(0, 60, (3, 64, 64)).astype(np.float32)


def test_every_layer_but_dropout_is_there_in_its_order() -> None:
    found = layer_outputs(network(), CROP)
    expected = "crops conv1 relu1 lrn1 pool1 conv2 relu2 lrn2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"
    assert " ".join(found) == f"{expected} fc6 relu6 fc7 relu7 fc8"
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    assert (found["conv1"].shape, found["pool1"].shape, found["fc8"].shape) == ((6, 15, 15), (6, 7, 7), (7,))
    assert np.array_equal(found["crops"], CROP)


def test_the_last_layer_is_the_networks_answer_in_test_mode_and_its_mode_is_restored() -> None:
    module = network().train()
    found = layer_outputs(module, CROP, divisor=2.0)
    assert module.training
    with torch.inference_mode():
        logits = module.eval()(torch.from_numpy(CROP)[None] / 2.0)[0].numpy()
    assert np.array_equal(found["fc8"], logits)


def test_dropouts_factor_is_in_the_layer_after_it() -> None:
    module = network()
    found = layer_outputs(module, CROP)
    weight, bias = (value.detach().numpy() for value in module.get_submodule("fc7").parameters())
    assert np.allclose(found["fc7"], weight @ (0.5 * found["relu6"]) + bias, atol=1e-6)


def test_no_hook_is_left_and_repeated_steps_have_names_of_their_own() -> None:
    steps = (("relu", "lrn", "relu", "pool"), *TINY.steps[1:])
    module = network(replace(TINY, steps=steps))
    assert list(layer_outputs(module, CROP))[1:6] == ["conv1", "relu1", "lrn1", "relu1_2", "pool1"]
    assert not any(part._forward_hooks for part in module.modules())


def test_the_centre_crop_is_less_the_mean_of_its_own_place() -> None:
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    mean = np.random.default_rng(1).uniform(0, 9, (8, 8, 3)).astype(np.float32)
    found = centre_crop(picture, mean, 4)
    assert found.shape == (3, 4, 4)
    assert found[2, 0, 1] == np.float32(picture[2, 3, 2]) - mean[2, 3, 2]
