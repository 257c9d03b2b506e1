from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from click.testing import Result
from PIL import Image

from alexnet.errors import InputError, ParityError
from alexnet.export import onnx_from_run
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.source import Source, source_from_run
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack
from alexnet.picture_files import find_pictures
from alexnet.pictures import Preprocessing, load_picture
from alexnet.recipe import NetworkRecipe
from tests.export.conftest import random_pictures, random_source, write_run
from tests.export.faults import FAULTS

Cli = Callable[..., Result]
Pixels = npt.NDArray[np.uint8]
NAMES = [f"picture {place}" for place in range(9)]


def test_model_and_pack_are_written_with_their_metadata(tmp_path: Path, tiny_source: Source, pictures: Pixels) -> None:
    exported = export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx")
    assert exported.proof.comparison.largest < 1e-5
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["model.onnx", "model.parity.safetensors", "model.proof.md"]
    model = onnx.load(tmp_path / "model.onnx")
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, "model.onnx")
    assert metadata.labels == tiny_source.labels
    assert metadata.mean_sha256 == hashlib.sha256(tiny_source.mean.tobytes()).hexdigest()
    assert metadata.parity["largest"] == exported.proof.comparison.largest
    assert metadata.recipe["network"]["crop"] == 64
    pack = ParityPack.load(exported.pack)
    assert pack.names == NAMES
    assert np.array_equal(pack.pictures, pictures)
    assert list(pack.layers)[:5] == ["crops", "conv1", "relu1", "lrn1", "pool1"]
    assert metadata.parity["layers"]["first"] is None
    assert list(metadata.parity["batches"]) == ["1", "2", "7", "9"]


@pytest.mark.parametrize(("fault", "layer"), FAULTS)
def test_a_planted_fault_fails_the_export_and_leaves_the_old_model(
    tmp_path: Path,
    tiny_source: Source,
    pictures: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[onnx.ModelProto], None],
    layer: str,
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"the old one")
    build = onnx_from_run.onnx_model

    def faulty(*arguments: object) -> onnx.ModelProto:
        model = build(*arguments)  # type: ignore[arg-type]
        fault(model)
        return model

    monkeypatch.setattr(onnx_from_run, "onnx_model", faulty)
    with pytest.raises(
        ParityError, match=rf"by .* in a probability of picture \d.*the first layer that differs is {layer}, "
    ) as caught:
        export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx")
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the old one"


def test_a_network_that_answers_nan_is_not_exported(tmp_path: Path, pictures: Pixels) -> None:
    source = random_source(NetworkRecipe(width=1 / 16, crop=64, classes=7))
    source.network.get_parameter("fc8.bias").data.fill_(float("nan"))
    with pytest.raises(ParityError, match="answers NaN"):
        export_onnx([source], pictures, NAMES, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_full_net_on_real_photographs(tmp_path: Path, photos: Path) -> None:
    source = random_source(NetworkRecipe(), side=256)
    files = list(find_pictures([photos]))[:50]
    pictures = np.stack([load_picture(file, Preprocessing(256)) for file in files])
    exported = export_onnx([source], pictures, [file.name for file in files], tmp_path / "model.onnx")
    assert exported.proof.comparison.pictures == len(files) >= 10
    assert exported.proof.comparison.largest < 1e-4
    assert exported.proof.comparison.top1 == 1.0
    answers = ParityPack.load(exported.pack).probabilities
    assert answers.max(axis=1).mean() > 0.01  # ten times what equal answers would be
    assert len(set(answers.argmax(axis=1).tolist())) > 1


@pytest.fixture
def tiny_run(tmp_path: Path, tiny_source: Source, pictures: Pixels) -> Path:
    return write_run(tmp_path / "runs" / "random-001", tiny_source, pictures)


def test_the_command_takes_the_newest_run_and_prints_the_figures(
    tiny_run: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_run.parents[1])
    result = run_cli("export", "--onnx")
    assert result.exit_code == 0, result.output
    assert "newest of runs/" in result.output
    for word in (
        "largest difference",
        "KL divergence",
        "top-1 agreement",
        "worst picture",
        "next: alexnet build model.onnx",
    ):
        assert word in result.output
    named = run_cli("export", tiny_run, "--onnx", "other/net.onnx")
    assert named.exit_code == 0
    assert Path("other/net.parity.safetensors").is_file()


def test_wrong_uses_of_the_command_say_what_to_do(tiny_run: Path, run_cli: Cli, tmp_path: Path) -> None:
    assert run_cli("export", tiny_run).exit_code == 2
    swapped = run_cli("export", "--onnx", tiny_run)
    assert swapped.exit_code == 2
    assert "a run stands before it" in swapped.output
    absent = run_cli("export", tmp_path / "absent", "--onnx", tmp_path / "m.onnx")
    assert (absent.exit_code, "is not a run" in absent.output) == (3, True)
    opset = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx", "--opset", "9")
    assert (opset.exit_code, "opset 9 is not offered" in opset.output) == (5, True)
    assert not (tmp_path / "m.onnx").exists()


def test_a_truncated_checkpoint_writes_nothing(tiny_run: Path, run_cli: Cli, tmp_path: Path) -> None:
    (weights,) = tiny_run.glob("checkpoint-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])
    result = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "truncated or was changed" in result.output) == (3, True)
    assert not (tmp_path / "m.onnx").exists()


def test_a_recipe_that_does_not_fit_the_weights_writes_nothing(tiny_run: Path, run_cli: Cli, tmp_path: Path) -> None:
    recipe = tiny_run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("width = 0.0625", "width = 0.125"))
    result = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "for conv1.weight, the recipe expects" in result.output) == (12, True)
    assert not (tmp_path / "m.onnx").exists()


def test_labels_that_do_not_fit_the_network_write_nothing(tiny_run: Path, run_cli: Cli, tmp_path: Path) -> None:
    (tiny_run / "labels.json").write_text('["a", "b"]')
    result = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "names 2 classes, the recipe has 7" in result.output) == (3, True), result.output
    assert not (tmp_path / "m.onnx").exists()


def test_weights_and_digest_are_of_one_checkpoint_while_training_goes_on(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet.run import Run
    from alexnet.train import checkpoint

    run = Run(tiny_run)
    read, first = checkpoint.load_file, checkpoint.weights_digest(run)

    def training_saves_after(path: Path) -> dict[str, torch.Tensor]:
        tensors = read(path)
        halved = {name: value * 0.5 for name, value in tensors.items()}
        state = checkpoint.TrainingState(epoch=checkpoint.load_state(run).epoch + 1)
        checkpoint.save_checkpoint(run, checkpoint.Checkpoint(state, halved))
        return tensors

    monkeypatch.setattr(checkpoint, "load_file", training_saves_after)
    assert source_from_run(run).checkpoint_sha256 == first


def test_a_full_disk_leaves_the_old_model_with_its_own_pack(
    tmp_path: Path, tiny_source: Source, pictures: Pixels
) -> None:
    resource = pytest.importorskip("resource", reason="no limit on the size of files on this platform")
    export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    later = replace(tiny_source, checkpoint_sha256="d" * 64)
    # The pack of four pictures fits, the model does not.
    assert 4 * pictures[0].nbytes < 200_000 < len(before["model.onnx"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises((OSError, InputError)):
            export_onnx([later], pictures[:4], NAMES[:4], tmp_path / "model.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_samples_of_another_size_are_refused(tiny_run: Path, run_cli: Cli, tmp_path: Path) -> None:
    from alexnet.run import Run
    from alexnet.train.samples import Samples, save_samples

    save_samples(Run(tiny_run), Samples(random_pictures(2, 72), NAMES[:2], np.zeros(2, dtype=np.int64)))
    result = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "(2, 72, 72, 3), expected (2, 80, 80, 3)" in result.output) == (3, True), result.output


def test_the_proof_on_a_folder_names_pictures_within_it(
    tiny_run: Path, run_cli: Cli, tmp_path: Path, pictures: Pixels
) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    Image.fromarray(pictures[0]).save(tmp_path / "photos" / "cats" / "one.png")
    result = run_cli("export", tiny_run, "--onnx", tmp_path / "m.onnx", "--pictures", tmp_path / "photos")
    assert result.exit_code == 0, result.output
    assert ParityPack.load(tmp_path / "m.parity.safetensors").names == ["cats/one.png"]


def test_without_torch_the_extra_is_named(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is imported anew would stay an attribute of the package.
    for stage in ("alexnet.train", "alexnet.export"):
        monkeypatch.setattr(stage, sys.modules[stage])
    ours = ("alexnet.train", "alexnet.export.onnx_from_run", "alexnet.export.source", "alexnet.export.expectation")
    for name in [name for name in sys.modules if name.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run_cli("export", "--onnx", tmp_path / "m.onnx")
    assert (result.exit_code, "alexnet-toolchain[train]" in result.output) == (7, True), result.output
