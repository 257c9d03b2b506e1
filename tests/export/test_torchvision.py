from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file
from torch import Tensor, nn

from alexnet.errors import InputError, ModelError
from alexnet.export.import_run import import_weights, read_foreign
from alexnet.export.source import source_from_run
from alexnet.export.torchvision import read_torchvision
from alexnet.pictures import Preprocessing, load_picture
from alexnet.run import Run
from alexnet.train.evaluate import ten_crop_probabilities
from tests.export.caffe_nets import photographs

Cli = Callable[..., Result]
CLASSES = 6


class Theirs(nn.Module):
    """torchvision's alexnet, module for module, narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(6, 9, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(9, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 7, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(7, 5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(180, 15),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(15, 13),
            nn.ReLU(),
            nn.Linear(13, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits = self.classifier(self.avgpool(self.features(x)).flatten(1))
        assert isinstance(logits, Tensor)
        return logits


def net() -> Theirs:
    torch.manual_seed(0)
    made = Theirs().eval()
    with torch.no_grad():
        for value in made.parameters():
            if value.ndim > 1:
                value.normal_(0, (2.5 / value[0].numel()) ** 0.5)
    return made


def answers(module: Theirs, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The ten crops' average, of pixels normalised as torchvision normalises them."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    crops = [x[:, :, y : y + 224, z : z + 224] for y, z in ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16))]
    with torch.no_grad():
        both = [module(view).softmax(1) for crop in crops for view in (crop, crop.flip(3))]
    averaged: npt.NDArray[np.float32] = torch.stack(both).mean(0).numpy()
    return averaged


def write(path: Path, state: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.suffix == ".pth")
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_an_imported_run_answers_as_torchvision_does_and_exports(tmp_path: Path, run_cli: Cli, suffix: str) -> None:
    module = net()
    path = write(tmp_path / f"alexnet{suffix}", module.state_dict())
    files = photographs(tmp_path / "photos")
    result = run_cli("import", path, tmp_path / "run", "--pictures", tmp_path / "photos")
    assert result.exit_code == 0, result.output
    assert "torchvision 6-9-8-7-5-15-13-6, crops of 224, 4 pictures" in result.output
    pictures = np.stack([load_picture(file, Preprocessing(256)) for file in files])
    expected = answers(module, pictures)
    assert 0.25 < expected.max() < 0.99
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    run = Run(tmp_path / "run")
    source = source_from_run(run)
    assert np.abs(ten_crop_probabilities(source.network, pictures, source.mean) - expected).max() < 1e-5
    exported = run_cli("export", run.path, "--onnx", tmp_path / "model.onnx")
    assert exported.exit_code == 0, exported.output
    assert run.recipe().origin.channels == "RGB"
    assert run.recipe().network.columns == 1
    assert run.labels()[:2] == ("class 0", "class 1")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in net().state_dict().items()}
    read = read_torchvision(write(tmp_path / "half.safetensors", half))
    assert np.array_equal(read.weights["conv3.weight"], half["features.6.weight"].float().numpy())


class Bomb:
    """What a hostile pickle is: unpickling it calls a function of its choice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain", "within"])
def test_a_pickle_that_calls_something_is_refused_unexecuted(tmp_path: Path, run_cli: Cli, form: str) -> None:
    path, bomb = tmp_path / "bomb.pth", Bomb(tmp_path / "exploded")
    if form == "plain":
        path.write_bytes(pickle.dumps(bomb, protocol=2))
    else:
        state = {**net().state_dict(), "features.0.weight": bomb} if form == "within" else bomb
        torch.save(state, path, _use_new_zipfile_serialization=form != "legacy")
    result = run_cli("import", path, tmp_path / "run")
    assert (result.exit_code, "none of it was run" in result.output) == (5, True), result.output
    assert "safetensors.torch.save_file" in result.output
    assert f"asks for {os.mkdir.__module__}.mkdir" in result.output
    assert len(result.output.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["bomb.pth"]
    with path.open("rb") as file:
        assert form == "zip" or b"exploded" in file.read()


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_foreign(path, None, None)


def test_what_is_no_state_dict_of_that_net_is_refused_by_name(tmp_path: Path) -> None:
    state = net().state_dict()
    path = tmp_path / "net.safetensors"
    cases: list[tuple[dict[str, Tensor], str]] = [
        ({name: value for name, value in state.items() if name != "features.8.bias"}, "features.8.bias is missing"),
        ({**state, "features.1.running_mean": state["features.0.bias"].clone()}, "running_mean is not of that net"),
        (
            {**state, "features.3.weight": torch.zeros(9, 6, 3, 3)},
            r"features.3.weight has the shape \[9, 6, 3, 3\], exp",
        ),
        ({**state, "features.3.bias": torch.zeros(8)}, r"features.3.bias has the shape \[8\], expected \[9\]"),
        ({**state, "classifier.6.bias": torch.full((CLASSES,), torch.inf)}, "classifier.6.bias holds NaN or infinity"),
        ({**state, "features.0.bias": torch.zeros(6, dtype=torch.int64)}, "features.0.bias holds torch.int64"),
        ({**state, "features.0.weight": torch.tensor(1.0)}, "features.0.weight is a single number"),
    ]
    for changed, message in cases:
        refused(write(path, changed), message)
    refused(write(tmp_path / "net.pth", {"model": state, "epoch": 3}), r"holds a dict with \[\"model\", \"epoch\"\]")
    refused(write(tmp_path / "net.pth", list(state.values())), "holds a list, expected a state dict")


def test_shapes_larger_than_their_numbers_are_not_allocated(tmp_path: Path) -> None:
    wide = {**net().state_dict(), "features.0.weight": torch.zeros(1).expand(2**40, 3, 11, 11)}
    refused(write(tmp_path / "net.pth", wide), r"features.0.weight claims the shape \[1099511627776, 3, 11, 11\]")
    header = b'{"features.0.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    refused(tmp_path / "net.safetensors", "is not whole safetensors")
    write(tmp_path / "plain.pth", {"features.0.weight": torch.zeros(300_000)})
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    refused(tmp_path / "bomb.pth", "more than it has; torch.save does not compress")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_truncated_and_spoilt_files_leave_nothing(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"net{suffix}", net().state_dict())
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    cuts = [whole[:end] for end in (0, 1, 5, 9, *rng.integers(10, len(whole) - 1, 25).tolist(), len(whole) - 1)]
    for data in (*cuts, *(whole[:place] + rng.bytes(4) + whole[place + 4 :] for place in range(0, 60, 4))):
        path.write_bytes(data)
        try:
            import_weights(path, tmp_path / "run", kind=None, mean=None, labels=None, pictures=None)
        except (ModelError, InputError) as error:
            assert str(path) in error.message
            assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        else:
            assert data not in cuts
            (tmp_path / "run").rename(tmp_path.parent / f"{tmp_path.name}-{len(list(tmp_path.parent.iterdir()))}")
