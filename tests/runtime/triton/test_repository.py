"""`alexnet package --triton`: read by the schema that tritonclient ships, and held against the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from google.protobuf import text_format

from alexnet.files import sha256_of
from alexnet.runtime.backends.onnx_file import read_onnx
from alexnet.sidecar import Profile, Sidecar, sidecar_beside
from tests.runtime.backends.test_tensorrt import write_plan
from tests.runtime.conftest import LABELS, SIDE, colour_model, metadata

schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed: extra dev")
Cli = Callable[..., Result]


def parsed(folder: Path) -> Any:
    """Return the configuration of a model's folder as the message that Triton reads."""
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())


def plan_for(folder: Path, *capabilities: str, **changes: object) -> Path:
    folder.mkdir(parents=True)
    return write_plan(folder, compute_capabilities=capabilities, module="tensorrt", **changes)


def test_an_onnx_model_field_by_field(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    out = tmp_path / "repository"
    result = run_cli("package", model, "--triton", out, "--max-batch", "16", "--queue-delay", "700", "--instances", "2")
    assert result.exit_code == 0, result.output
    assert f"tritonserver --model-repository={out}" in result.stdout
    config, facts = parsed(out / "model"), read_onnx(model).metadata
    assert (config.name, config.backend, config.platform) == ("model", "onnxruntime", "onnxruntime_onnx")
    assert config.max_batch_size == 16
    graph = onnx.load(model).graph
    (taken,), (given,) = config.input, config.output
    assert (taken.name, given.name) == (graph.input[0].name, graph.output[0].name)
    assert list(taken.dims) == [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[1:]]
    assert list(given.dims) == [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim[1:]]
    assert (taken.data_type, given.data_type) == (schema.TYPE_UINT8, schema.TYPE_FP32)
    assert given.label_filename == "labels.txt"
    assert (out / "model" / "labels.txt").read_text().splitlines() == list(facts.labels)
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 700
    assert [(group.kind, group.count) for group in config.instance_group] == [(schema.ModelInstanceGroup.KIND_AUTO, 2)]
    assert config.default_model_filename == "model.onnx"
    assert not config.cc_model_filenames
    assert [warm.batch_size for warm in config.model_warmup] == [1, 8, 16]
    for warm in config.model_warmup:
        ((name, fed),) = warm.inputs.items()
        assert (name, fed.data_type, list(fed.dims)) == (taken.name, taken.data_type, list(taken.dims))
        assert fed.zero_data
    assert (out / "model" / "1" / "model.onnx").read_bytes() == model.read_bytes()
    assert sorted(path.name for path in out.rglob("*")) == ["1", "config.pbtxt", "labels.txt", "model", "model.onnx"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_packed_model_answers_as_the_original(model: Path, images: Path, tmp_path: Path, run_cli: Cli) -> None:
    run_cli("package", model, "--triton", tmp_path / "repository")
    packed = tmp_path / "repository" / "model" / "1" / "model.onnx"
    answers = [run_cli("infer", "--engine", path, images, "--csv").stdout for path in (model, packed)]
    assert answers[0] == answers[1] != ""


def test_a_fixed_batch_is_written_with_the_shapes(tmp_path: Path, run_cli: Cli) -> None:
    for batch, labels in ((4, ""), (1, "labels.txt")):
        path = colour_model(tmp_path / f"fixed{batch}.onnx", metadata(batch=batch))
        proto = onnx.load(path)
        for entry in (*proto.graph.input, *proto.graph.output):
            entry.type.tensor_type.shape.dim[0].dim_value = batch
        onnx.save(proto, path)
        out = tmp_path / f"out{batch}"
        assert run_cli("package", path, "--triton", out).exit_code == 0
        config = parsed(out / path.stem)
        assert config.max_batch_size == 0
        assert not config.HasField("dynamic_batching")
        assert (list(config.input[0].dims), list(config.output[0].dims)) == (
            [batch, SIDE, SIDE, 3],
            [batch, len(LABELS)],
        )
        assert config.output[0].label_filename == labels
        assert [(warm.batch_size, list(warm.inputs["pictures"].dims)) for warm in config.model_warmup] == [
            (1, [batch, SIDE, SIDE, 3])
        ]
        result = run_cli("package", path, "--triton", tmp_path / "more", "--max-batch", "64")
        assert (result.exit_code, f"takes {batch} pictures at once" in result.stderr) == (5, True)


def test_plans_of_one_model_become_one_with_a_file_for_each_capability(tmp_path: Path, run_cli: Cli) -> None:
    ada = plan_for(tmp_path / "ada", "8.9", profile=Profile(1, 8, 32))
    rest = plan_for(tmp_path / "rest", "10.0", "12.0", profile=Profile(1, 4, 16))
    any_gpu = plan_for(tmp_path / "any", "8.0+", profile=Profile(1, 8, 24))
    out = tmp_path / "repository"
    result = run_cli("package", ada, rest, any_gpu, "--triton", out)
    assert (result.exit_code, result.stderr) == (0, "")
    config, sidecar = parsed(out / "model"), Sidecar.load(ada)
    assert (config.name, config.backend, config.platform) == ("model", "tensorrt", "tensorrt_plan")
    assert dict(config.cc_model_filenames) == {
        "8.9": "sm89.plan",
        "10.0": "sm100-sm120.plan",
        "12.0": "sm100-sm120.plan",
    }
    assert config.default_model_filename == "sm80-up.plan"
    assert (config.input[0].name, config.output[0].name) == (sidecar.input_name, sidecar.output_name)
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8, 16]
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_GPU
    for file in (*config.cc_model_filenames.values(), config.default_model_filename):
        plan = out / "model" / "1" / file
        Sidecar.load(plan).check_digest(plan)


def test_a_real_plan(tmp_path: Path, run_cli: Cli) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: extra rtx, Linux or Windows on x86-64")
    model = colour_model(tmp_path / "colours.onnx")
    assert run_cli("build", model, "--target", "rtx", "--compute", "sm89,sm120", "--batch", "1,4,16").exit_code == 0
    result = run_cli("package", tmp_path / "colours.plan", "--triton", tmp_path / "repository")
    assert result.exit_code == 0, result.output
    assert "built by tensorrt_rtx, which NVIDIA's Triton images do not carry" in result.stderr
    config = parsed(tmp_path / "repository" / "colours")
    assert dict(config.cc_model_filenames) == {"8.9": "model.plan", "12.0": "model.plan"}
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 16]
    assert list(config.input[0].dims) == [SIDE, SIDE, 3]
    packed = tmp_path / "repository" / "colours" / "1" / "model.plan"
    assert sha256_of(packed) == sha256_of(tmp_path / "colours.plan") == Sidecar.load(packed).plan_sha256


def with_external_data(path: Path) -> Path:
    """Let the colour model keep its gain in a file beside it."""
    proto = onnx.load(path)
    onnx.save_model(proto, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def test_external_data_goes_along_and_nowhere_else(tmp_path: Path, run_cli: Cli) -> None:
    path = with_external_data(colour_model(tmp_path / "big.onnx"))
    assert run_cli("package", path, "--triton", tmp_path / "repository").exit_code == 0
    version = tmp_path / "repository" / "big" / "1"
    assert sorted(file.name for file in version.iterdir()) == ["big.onnx.data", "model.onnx"]
    weights = {
        entry.name: onnx.numpy_helper.to_array(entry) for entry in onnx.load(version / "model.onnx").graph.initializer
    }
    assert weights["gain"] == np.float32(0.05)
    secret = tmp_path / "secret"
    (tmp_path / "big.onnx.data").rename(secret)
    (tmp_path / "big.onnx.data").symlink_to(secret)
    result = run_cli("package", path, "--triton", tmp_path / "other")
    assert (result.exit_code, "which is a link" in result.stderr) == (5, True)
    assert not (tmp_path / "other").exists()


def test_names_that_would_break_the_text_are_escaped_or_refused(tmp_path: Path, run_cli: Cli) -> None:
    strange = 'pic"tures\n\\ ü } dims: 7'
    plan = plan_for(tmp_path / "a", "8.9", input_name=strange, metadata=metadata(labels=("two\nlines", "größe", "c")))
    assert run_cli("package", plan, "--triton", tmp_path / "out").exit_code == 0
    config = parsed(tmp_path / "out" / "model")
    assert config.input[0].name == strange
    assert [list(warm.inputs) for warm in config.model_warmup] == [[strange]] * 3
    assert (tmp_path / "out" / "model" / "labels.txt").read_text(encoding="utf-8").splitlines()[1:] == ["größe", "c"]
    odd = colour_model(tmp_path / "my model.onnx")
    result = run_cli("package", odd, "--triton", tmp_path / "more")
    assert (result.exit_code, "rename the file" in result.stderr) == (3, True)


def test_what_cannot_be_served_is_one_line_and_nothing_is_written(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep")
    good = plan_for(tmp_path / "good", "8.9")
    changed = plan_for(tmp_path / "changed", "8.9")
    changed.write_bytes(b"other")
    bare = plan_for(tmp_path / "bare", "8.9")
    sidecar_beside(bare).unlink()
    stripped = plan_for(tmp_path / "stripped", "8.9", options={"strip_weights": True})
    many = plan_for(tmp_path / "many", "8.9", profile=Profile(4, 8, 16))
    other = plan_for(tmp_path / "other", "12.0", output_name="classes")
    plugin = colour_model(tmp_path / "plugin.onnx", metadata(lrn="plugin"))
    new = tmp_path / "new"
    for models, folder, code, words in (
        ((model,), full, 3, "is not empty"),
        ((tmp_path / "absent.onnx",), new, 3, "does not exist"),
        ((full / "mine",), new, 5, "is no model by its suffix"),
        ((model, model), new, 3, "two models would be called 'model'"),
        ((model, good), new, 3, "two models would be called 'model'"),
        ((changed,), new, 11, "its sidecar says"),
        ((bare,), new, 11, "has no sidecar"),
        ((stripped,), new, 5, "build without --strip-weights"),
        ((many,), new, 5, "build with --batch 1,8,16"),
        ((good, other), new, 11, "describe two"),
        ((good, plan_for(tmp_path / "again", "8.9")), new, 3, "both for compute capability 8.9"),
        ((plugin,), new, 5, "export with --lrn conv"),
    ):
        result = run_cli("package", *models, "--triton", folder)
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
        assert result.stderr.count("\n") == 1
        assert not new.exists()
    assert [path.name for path in full.iterdir()] == ["mine"]
    result = run_cli("package", good, "--triton", new, "--max-batch", "64")
    assert (result.exit_code, "takes 32 pictures at most" in result.stderr) == (5, True)


def test_an_empty_folder_is_taken(model: Path, tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "empty").mkdir()
    assert run_cli("package", model, "--triton", tmp_path / "empty").exit_code == 0
    assert parsed(tmp_path / "empty" / "model").name == "model"
