from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from alexnet.errors import ParityError
from alexnet.export import onnx_from_run
from alexnet.export.graph import onnx_model
from alexnet.export.onnx_files import SMALL, infer_shapes, publish, remove_older_weights, staging, write_model
from alexnet.export.onnx_from_run import export_onnx
from alexnet.export.options import ExportOptions
from alexnet.export.source import Source
from alexnet.external import check_external_data, load_model
from tests.export.conftest import TINY, random_source

Pixels = npt.NDArray[np.uint8]
NAMES = [f"picture {place}" for place in range(9)]
EXTERNAL = ExportOptions(external=True)


def test_external_data_answer_as_one_file_does(tmp_path: Path, tiny_source: Source, pictures: Pixels) -> None:
    one = export_onnx([tiny_source], pictures, NAMES, tmp_path / "one.onnx")
    two = export_onnx([tiny_source], pictures, NAMES, tmp_path / "two.onnx", EXTERNAL)
    assert one.weights is None
    assert two.weights is not None
    model = load_model(two.model)
    assert check_external_data(model, two.model) == [two.weights]
    assert two.model.stat().st_size < 100_000 < two.weights.stat().st_size
    answers = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pictures": pictures})[0]
        for path in (one.model, two.model)
    ]
    assert np.array_equal(*answers)
    assert two.weights.stat().st_mode == two.model.stat().st_mode
    assert two.bytes == two.model.stat().st_size + two.weights.stat().st_size


def test_a_later_export_removes_the_weights_it_replaces_and_no_other_file(
    tmp_path: Path, tiny_source: Source, pictures: Pixels
) -> None:
    others = ["model.onnx.notes.data", "model.onnx.0123456789abcdef.text", "other.onnx.0123456789abcdef.data"]
    for name in others:
        (tmp_path / name).write_text("mine")
    first = export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx", EXTERNAL).weights
    second = export_onnx([random_source(TINY, seed=3)], pictures, NAMES, tmp_path / "model.onnx", EXTERNAL).weights
    assert first != second
    assert {path.name for path in tmp_path.glob("*.data")} == {second.name, *others[::2]}  # type: ignore[union-attr]
    assert export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx").weights is None
    assert {path.name for path in tmp_path.glob("*.data")} == set(others[::2])


def test_a_failed_proof_leaves_the_old_weights_and_no_new_ones(
    tmp_path: Path, tiny_source: Source, pictures: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx", EXTERNAL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = random_source(TINY, seed=3)
    monkeypatch.setattr(onnx_from_run, "onnx_model", lambda sources, options: onnx_model([other.numbers()], options))
    with pytest.raises(ParityError):
        export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx", EXTERNAL)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_model_past_the_limit_gets_external_data(
    tmp_path: Path, tiny_source: Source, pictures: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_from_run, "SINGLE_FILE_LIMIT", 100_000)
    assert export_onnx([tiny_source], pictures, NAMES, tmp_path / "model.onnx").weights is not None


def test_shapes_are_those_that_onnx_infers_from_the_whole_model(tiny_source: Source) -> None:
    model = onnx_model([tiny_source.numbers()], ExportOptions(stem="shared"))
    weights = [tensor.SerializeToString() for tensor in model.graph.initializer]
    assert max(len(tensor.raw_data) for tensor in model.graph.initializer) > SMALL
    del model.graph.value_info[:]
    whole = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert infer_shapes(model).SerializeToString() == whole.SerializeToString()
    assert [tensor.SerializeToString() for tensor in model.graph.initializer] == weights


def test_types_that_do_not_fit_are_refused(tiny_source: Source) -> None:
    model = onnx_model([tiny_source.numbers()], ExportOptions())
    model.graph.node[0].attribute[0].i = onnx.TensorProto.INT32
    with pytest.raises(onnx.shape_inference.InferenceError, match="to_float"):
        infer_shapes(model)


def test_the_hidden_folder_goes_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyError), staging(tmp_path / "new" / "model.onnx") as folder:
        (folder / "model.onnx").write_bytes(b"half")
        raise KeyError("stopped")
    assert list((tmp_path / "new").iterdir()) == []
    with staging(tmp_path / "model.onnx") as folder:
        (folder / "model.onnx").write_bytes(b"whole")
        publish([folder / "model.onnx"], tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == b"whole"
    remove_older_weights(tmp_path / "model.onnx", None)


@pytest.mark.slow
def test_an_ensemble_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    from alexnet.recipe import NetworkRecipe
    from tests.export.conftest import random_pictures

    sources = [random_source(NetworkRecipe(width=1, classes=10, crop=224), seed=seed, side=256) for seed in range(10)]
    exported = export_onnx(sources, random_pictures(2, 256), ["a", "b"], tmp_path / "model.onnx")
    assert exported.bytes > 2**31
    assert exported.weights is not None
    model = load_model(exported.model)
    write_model(model, tmp_path / "again.onnx", external=False)
    assert check_external_data(load_model(tmp_path / "again.onnx"), tmp_path / "again.onnx") == [exported.weights]
