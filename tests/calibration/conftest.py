"""Tiny exported models with labelled pictures that they get right, and prepared data of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.metadata import ModelMetadata
from alexnet.parity import ParityPack, parity_pack_beside


def _nets() -> ModuleType:
    """Return the random networks of the export's tests."""
    path = Path(__file__).parents[1] / "export" / "conftest.py"
    spec = importlib.util.spec_from_file_location("export_nets", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


nets = _nets()
Export = Callable[..., Path]


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """What exports a tiny random network, or several as one, in a form of choice."""

    def made(*seeds: int, **form: Any) -> Path:
        sources = [nets.random_source(nets.TINY, seed) for seed in seeds or (0,)]
        shown = nets.random_pictures(9)
        out = tmp_path_factory.mktemp("export") / "model.onnx"
        export_onnx(sources, shown, [f"picture {place}" for place in range(9)], out, ExportOptions(**form))
        return out

    return made


@pytest.fixture(scope="session")
def model(export: Export) -> Path:
    """The plain ten-crop model."""
    return export()


def answers(model: Path, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a model's probabilities for pictures."""
    import onnx

    from alexnet.cpu_session import cpu_session

    proto = onnx.load(model)
    facts = ModelMetadata.from_properties({entry.key: entry.value for entry in proto.metadata_props}, "model")
    found: npt.NDArray[np.float32] = cpu_session(proto).run(None, {"pictures": facts.fed(pictures)})[0]
    return found


@pytest.fixture(scope="session")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, each in the class that the plain model puts it in: 100 % are right in float32."""
    root = tmp_path_factory.mktemp("data")
    labels = ParityPack.load(parity_pack_beside(model)).probabilities.shape[1]
    for part, number, seed in (("train", 40, 2), ("val", 30, 3)):
        pictures = nets.random_pictures(number, seed=seed)
        best = answers(model, pictures).argmax(axis=1)
        for place in range(labels):
            (root / part / f"thing {place}").mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / part / f"thing {best[number]}" / f"{number}.png")
        # Every class has a picture: find_pictures refuses an empty folder.
        for place in range(labels):
            folder = root / part / f"thing {place}"
            if not any(folder.iterdir()):
                Image.fromarray(nets.random_pictures(1, seed=seed + 100 + place)[0]).save(folder / "filler.png")
    return root
