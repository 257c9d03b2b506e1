"""JPEGs decoded on the GPU, with a stand-in for nvImageCodec; the real one needs a GPU (marker `gpu`)."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from PIL import Image

from alexnet.errors import DeviceError, InputError, MissingPackageError, PictureError
from alexnet.gpu import Gpu, GpuSearch, find_gpus
from alexnet.pictures import SCALED_BOUND, Preprocessing, load_picture
from alexnet.runtime import gpu_decode
from alexnet.runtime.gpu_decode import COMPARED, GpuDecoder
from alexnet.runtime.session import InferOptions

Pixels = npt.NDArray[np.uint8]
SQUARE = Preprocessing(24)


class Codec:
    """nvImageCodec as Pillow would play it: `change` is done to the pixels."""

    def __init__(self) -> None:
        self.decoded, self.change = 0, lambda pixels: pixels

    def decode(self, data: bytes, params: Any) -> Any:
        assert params == {"color_spec": "SRGB", "apply_exif_orientation": False}
        self.decoded += 1
        pixels = self.change(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        return None if pixels is None else SimpleNamespace(cpu=lambda: pixels)


@pytest.fixture
def codec(monkeypatch: pytest.MonkeyPatch) -> Codec:
    made, module = Codec(), ModuleType("nvidia.nvimgcodec")
    parts = {
        "Decoder": lambda device_id: made,
        "CodeStream": bytes,
        "DecodeParams": dict,
        "ColorSpec": SimpleNamespace(SRGB="SRGB"),
    }
    vars(module).update(parts)
    monkeypatch.setitem(sys.modules, "nvidia", ModuleType("nvidia"))
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", module)
    monkeypatch.setattr(gpu_decode, "find_gpus", lambda: GpuSearch((Gpu("NVIDIA H200", "9.0", "13.0"),), "one"))
    return made


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A smooth JPEG that its EXIF orientation turns."""
    slopes = np.linspace(0, 255, 60)[None, :, None] * np.linspace(0.2, 1, 40)[:, None, None] * np.array([1.0, 0.7, 0.3])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(slopes.astype(np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def test_the_gpus_pixels_are_turned_and_resized_as_pillows_are(codec: Codec, photo: Path) -> None:
    said: list[str] = []
    decoder = GpuDecoder(0, said.append)
    for _ in range(COMPARED + 2):
        assert np.array_equal(decoder.load(photo, SQUARE), load_picture(photo, SQUARE))
    assert (codec.decoded, decoder.left, decoder.works, said) == (COMPARED + 2, 0, True, [])


def test_pixels_past_the_bound_are_not_used(codec: Codec, photo: Path) -> None:
    said: list[str] = []
    decoder = GpuDecoder(0, said.append)
    codec.change = lambda pixels: pixels ^ 64
    assert np.array_equal(decoder.load(photo, SQUARE), load_picture(photo, SQUARE))
    assert np.array_equal(decoder.load(photo, SQUARE), load_picture(photo, SQUARE))
    assert (codec.decoded, len(said)) == (1, 1)
    assert f"expected at most {SCALED_BOUND} and 3; going on with Pillow" in said[0]


def test_small_differences_are_the_gpus(codec: Codec, photo: Path) -> None:
    decoder = GpuDecoder(0, print)
    codec.change = lambda pixels: np.where(pixels < 255, pixels + 1, pixels).astype(np.uint8)
    found = decoder.load(photo, SQUARE)
    assert decoder.works
    assert np.abs(found.astype(int) - load_picture(photo, SQUARE)).max() == 1


@pytest.mark.parametrize("answer", [None, np.zeros((3, 3, 3), dtype=np.uint8)])
def test_what_it_cannot_decode_pillow_does(codec: Codec, photo: Path, answer: Pixels | None) -> None:
    codec.change = lambda pixels: answer
    assert np.array_equal(GpuDecoder(0, print).load(photo, SQUARE), load_picture(photo, SQUARE))


def test_a_codec_that_fails_is_said_once_and_left(codec: Codec, photo: Path) -> None:
    def fail(pixels: Pixels) -> Pixels:
        raise RuntimeError("CUDA Runtime failure:\n35")

    said: list[str] = []
    codec.change = fail
    decoder = GpuDecoder(0, said.append)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: decoder.load(photo, SQUARE), range(8)))
    assert all(np.array_equal(one, load_picture(photo, SQUARE)) for one in found)
    assert set(said) == {"warning: nvImageCodec failed: CUDA Runtime failure: 35; going on with Pillow"}


def test_other_pictures_and_damage_are_pillows(codec: Codec, photo: Path, tmp_path: Path) -> None:
    decoder = GpuDecoder(0, print)
    Image.open(photo).save(tmp_path / "photo.png")
    Image.open(photo).convert("L").save(tmp_path / "grey.jpg")
    for name in ("photo.png", "grey.jpg"):
        assert np.array_equal(decoder.load(tmp_path / name, SQUARE), load_picture(tmp_path / name, SQUARE))
    (tmp_path / "bad.jpg").write_bytes(b"no picture at all, but text\n" * 20)
    with pytest.raises(PictureError, match="it is text"):
        decoder.load(tmp_path / "bad.jpg", SQUARE)
    assert codec.decoded == 0


def test_without_a_gpu_or_the_package_it_says_so(
    codec: Codec, model: Path, photo: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_cli("infer", "--engine", model, "--backend", "onnxruntime-cpu", "--gpu-decoding", photo)
    assert (done.exit_code, codec.decoded) == (0, 1), done.output
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(MissingPackageError, match=r"\[gpu-decoding\]"):
        GpuDecoder(0, print)
    monkeypatch.setattr(gpu_decode, "find_gpus", lambda: GpuSearch((), "no driver is here"))
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU, and no driver is here; leave it out"):
        GpuDecoder(0, print)
    with pytest.raises(InputError, match="give one of them"):
        InferOptions(scaled=True, gpu_decoding=True)


@pytest.mark.gpu
def test_nvimagecodec_decodes_photographs_within_the_bound() -> None:
    pytest.importorskip("nvidia.nvimgcodec")
    folder = os.environ.get("ALEXNET_PHOTOS")
    if not find_gpus().gpus or not folder:
        pytest.skip("no GPU, or no photographs: set ALEXNET_PHOTOS")
    said: list[str] = []
    decoder, side = GpuDecoder(0, said.append), Preprocessing(256)
    for path in sorted(Path(folder).iterdir()):
        decoder.left = 1
        decoder.load(path, side)
    assert said == []
