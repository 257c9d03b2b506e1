from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from alexnet.errors import MissingPackageError, ModelError
from alexnet.runtime.backends import BackendOptions, choice, open_backend
from tests.runtime.conftest import SIDE, colour_model, expected


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_answers_are_the_formulas_at_any_batch(model: Path, batch: int) -> None:
    pictures = np.random.default_rng(batch).integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8)
    backend = open_backend(model, BackendOptions(threads=1))
    assert np.abs(backend.probabilities(pictures) - expected(pictures)).max() < 1e-6
    assert (backend.name, backend.device, backend.precision) == ("onnxruntime-cpu", "CPU", "fp32")
    backend.close()


def test_weights_in_other_files_are_not_read(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "model.onnx")
    model = onnx.load(path)
    tensor = next(entry for entry in model.graph.initializer if entry.name == "gain")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="keeps gain in"):
        open_backend(path)


def test_a_graph_that_onnx_runtime_refuses_is_a_model_error(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.node[2].op_type = "Wobble"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"ONNX Runtime .* refuses .*model.onnx"):
        open_backend(path)


def test_a_backend_that_is_not_installed_names_its_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(choice.importlib, "import_module", absent)
    with pytest.raises(MissingPackageError, match=r"onnxruntime, which is not installed.*\[cpu\]"):
        open_backend(model)
