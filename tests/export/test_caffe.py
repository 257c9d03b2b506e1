from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import Result
from PIL import Image

from alexnet.errors import InputError, ModelError
from alexnet.export.caffe import read_caffe
from alexnet.export.import_run import import_weights
from alexnet.export.source import source_from_run
from alexnet.metadata import ModelMetadata
from alexnet.run import Run
from alexnet.train.evaluate import ten_crop_probabilities
from alexnet.train.samples import load_samples
from tests.export import caffe_nets as nets

Cli = Callable[..., Result]
WEIGHTS = nets.caffe_weights()
MEAN = np.random.default_rng(3).uniform(60, 160, (3, 256, 256)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with Caffe's files: both nets, the mean, labels and pictures."""
    for kind in nets.AFTER:
        (tmp_path / f"{kind}.caffemodel").write_bytes(nets.caffemodel(WEIGHTS, kind))
    (tmp_path / "mean.binaryproto").write_bytes(nets.blob(MEAN[None], old=True))
    (tmp_path / "words.txt").write_text("\n".join(f"n0{place} thing {place}, it" for place in range(nets.CLASSES)))
    nets.photographs(tmp_path / "photos")
    return tmp_path


def warped(files: list[Path]) -> npt.NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(file).resize((256, 256), Image.Resampling.BILINEAR)) for file in files])


def read(path: Path, data: bytes, kind: str | None = None) -> object:
    path.write_bytes(data)
    return read_caffe(path, kind, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(nets.AFTER))
def test_an_imported_run_answers_as_caffe_does_and_exports(folder: Path, run_cli: Cli, kind: str) -> None:
    given = ("--mean", folder / "mean.binaryproto", "--labels", folder / "words.txt", "--pictures", folder / "photos")
    result = run_cli("import", folder / f"{kind}.caffemodel", folder / "run", *given)
    assert result.exit_code == 0, result.output
    assert f"next: alexnet export {folder / 'run'} --onnx" in result.output
    pictures = warped(sorted((folder / "photos").iterdir()))
    expected = nets.caffe_answers(WEIGHTS, kind, pictures, MEAN)
    assert 0.3 < expected.max() < 0.99
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    source = source_from_run(Run(folder / "run"))
    assert np.array_equal(load_samples(Run(folder / "run")).pictures, pictures)
    found = ten_crop_probabilities(source.network, pictures, source.mean)
    assert np.abs(found - expected).max() < 1e-5

    exported = run_cli("export", folder / "run", "--onnx", folder / "model.onnx")
    assert exported.exit_code == 0, exported.output
    model = onnx.load(folder / "model.onnx")
    metadata = ModelMetadata.from_properties({entry.key: entry.value for entry in model.metadata_props}, "model")
    assert metadata.preprocessing.rule == "warp"
    assert metadata.labels[1] == "n01 thing 1, it"
    origin = metadata.recipe["origin"]
    assert (origin["kind"], origin["weights"], origin["channels"]) == (kind, f"{kind}.caffemodel", "BGR")
    assert len(origin["weights_sha256"]) == len(origin["mean_sha256"]) == 64
    assert metadata.recipe["network"]["steps"][0][1:] == (
        ["lrn", "pool"] if kind == "bvlc_alexnet" else ["pool", "lrn"]
    )
    assert run_cli("check", folder / "model.onnx").exit_code == 0


def test_the_two_orders_are_two_nets() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    one, other = (nets.caffe_answers(WEIGHTS, kind, pictures, MEAN) for kind in nets.AFTER)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("form", [{"old": True}, {"double": True}, {"old": True, "double": True}, {"steps": False}])
def test_every_format_gives_the_same_net(tmp_path: Path, form: dict[str, bool]) -> None:
    first = read(tmp_path / "a", nets.caffemodel(WEIGHTS, "caffenet"))
    other = read(tmp_path / "b", nets.caffemodel(WEIGHTS, "caffenet", **form), "caffenet")  # type: ignore[arg-type]
    assert first.network == other.network  # type: ignore[attr-defined]
    for name, value in first.weights.items():  # type: ignore[attr-defined]
        assert np.array_equal(value, other.weights[name]), name  # type: ignore[attr-defined]


def test_the_normalisation_of_the_file_counts(tmp_path: Path) -> None:
    net = read(tmp_path / "a", nets.caffemodel(WEIGHTS, "caffenet", alpha=5e-4))
    network = net.network  # type: ignore[attr-defined]
    assert (network.lrn_alpha, network.lrn_k, network.lrn_scope, network.conv1_padding) == (1e-4, 1.0, "layer", "none")
    assert (network.kernels, network.hidden, network.classes) == ((8, 12, 16, 12, 10), (18, 14), nets.CLASSES)


def test_without_a_mean_file_each_colour_has_its_mean(tmp_path: Path) -> None:
    net = read(tmp_path / "a", nets.caffemodel(WEIGHTS, "caffenet"))
    assert np.allclose(net.mean[17, 200], (122.67891, 116.66877, 104.00699))  # type: ignore[attr-defined]
    assert any("mean of each colour" in line for line in net.origin.differs)  # type: ignore[attr-defined]


def test_pooling_rounded_up_is_pooling_rounded_down() -> None:
    side = (227 - 11) // 4 + 1
    for expected in (27, 13, 6):
        assert -(-(side - 3) // 2) + 1 == (side - 3) // 2 + 1 == expected
        side = expected


ODD = nets.layer("bn1", "BatchNorm", 0, (0, 0, b""), [], False)
SWAPPED = {**WEIGHTS, "conv2": (WEIGHTS["conv2"][0][:, :3], WEIGHTS["conv2"][1])}
BROKEN = {**WEIGHTS, "fc7": (np.full_like(WEIGHTS["fc7"][0], np.nan), WEIGHTS["fc7"][1])}
HUGE = nets.layer("c", "Convolution", 4, (0, 0, b""), [nets.blob(MEAN[0, 0], shape=(2**40, 2**20))], False)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", None, "holds no layers: it is not a .caffemodel, or it is truncated"),
        (b"plain text\n" * 20, None, "is not a .caffemodel, or it is truncated"),
        (nets.caffemodel(WEIGHTS, "caffenet", without="conv4"), None, "conv4 missing"),
        (
            nets.caffemodel(SWAPPED, "caffenet"),
            None,
            r"conv2 \(weights\) has the shape \[12, 3, 5, 5\], expected \[12, 4,",
        ),
        (nets.caffemodel(BROKEN, "caffenet"), None, r"fc7 \(weights\) holds NaN"),
        (nets.caffemodel(WEIGHTS, "caffenet", groups={"conv4": 1}), None, "conv4 has 1 groups, expected 2"),
        (nets.caffemodel(WEIGHTS, "caffenet"), "bvlc_alexnet", "is caffenet, and bvlc_alexnet was asked for"),
        (nets.caffemodel(WEIGHTS, "caffenet", steps=False), None, "add --kind caffenet or --kind bvlc_alexnet"),
        (nets.caffemodel(WEIGHTS, "caffenet", extra=ODD), None, r"'bn1' \(BatchNorm\) after fc8"),
        (nets.chunk(2, nets.chunk(1, nets.chunk(1, b"conv1"))), None, "upgrade_net_proto_binary"),
        (HUGE, None, r"claims the shape \[1099511627776, 1048576\] and holds 256 numbers"),
    ],
)
def test_what_is_no_such_net_is_refused_by_name(tmp_path: Path, data: bytes, kind: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(tmp_path / "net.caffemodel", data, kind)


def test_an_order_of_neither_net_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(nets.AFTER, "odd", {"conv1": ["norm", "relu", "pool"], "conv2": ["relu"]})
    monkeypatch.setitem(nets.AFTER, "mixed", {**nets.AFTER["caffenet"], "conv2": nets.AFTER["bvlc_alexnet"]["conv2"]})
    for kind, place in (("odd", "lrn, relu, pool after conv1"), ("mixed", "relu, lrn, pool after conv2")):
        with pytest.raises(ModelError, match=f"has {place}, expected .* neither bvlc_alexnet nor CaffeNet"):
            read(tmp_path / "net.caffemodel", nets.caffemodel(WEIGHTS, kind))


def test_truncated_and_random_files_leave_nothing(tmp_path: Path) -> None:
    whole = nets.caffemodel(WEIGHTS, "caffenet")
    rng = np.random.default_rng(1)
    cuts = [whole[:end] for end in (1, 3, 17, *rng.integers(20, len(whole) - 2000, 40).tolist())]
    noise = [rng.bytes(size) for size in (1, 9, 100, 1000, 10000, 100000)]
    spoilt = []
    for place in rng.integers(0, 60, 20).tolist():
        spoilt.append(whole[:place] + rng.bytes(3) + whole[place + 3 :])
    path = tmp_path / "net.caffemodel"
    for data in (*cuts, *noise, *spoilt):
        path.write_bytes(data)
        try:
            import_weights(path, tmp_path / "run", kind=None, mean=None, labels=None, pictures=None)
        except (ModelError, InputError) as error:
            assert str(path) in error.message
        else:
            # Spoiling a name changes no number.
            assert data in spoilt
            source = source_from_run(Run(tmp_path / "run"))
            assert np.array_equal(source.network.get_parameter("fc8.bias").detach().numpy(), WEIGHTS["fc8"][1])
            (tmp_path / "run").rename(tmp_path / f"fine{len(list(tmp_path.iterdir()))}")
        assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith((".", "run"))]


def test_a_mean_of_another_size_is_refused(folder: Path) -> None:
    for data, message in (
        (nets.blob(MEAN[None, :, :227, :227]), r"holds a mean of \[1, 3, 227, 227\], expected \[1, 3, 256, 256\]"),
        (nets.blob(MEAN, shape=(1, 3, 256, 257)), "claims the shape"),
        (b"\xff\xff\xff", "is not a .binaryproto"),
    ):
        (folder / "other").write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_caffe(folder / "caffenet.caffemodel", None, folder / "other")
    with pytest.raises(InputError, match="cannot be read"):
        read_caffe(folder / "caffenet.caffemodel", None, folder / "absent")
