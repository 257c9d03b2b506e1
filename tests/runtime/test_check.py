from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from alexnet.errors import InputError, ModelError, ParityError
from alexnet.parity import ParityPack, parity_pack_beside
from alexnet.runtime.check import check_model
from tests.runtime.conftest import SIDE, colour_model, expected, metadata

Cli = Callable[..., Result]


def test_a_model_that_is_the_trained_one_passes(model: Path) -> None:
    result = check_model(model)
    assert result.comparison.pictures == 11
    assert result.comparison.largest < 1e-6
    assert result.comparison.top1 == 1.0


def test_a_model_whose_arithmetic_changed_fails_with_its_figure(model: Path, run_cli: Cli) -> None:
    colour_model(model, gain=0.06)
    with pytest.raises(ParityError, match=r"differs from the training model by .* in a probability of \d+.png"):
        check_model(model)
    result = run_cli("check", model)
    assert (result.exit_code, "ok" in result.stdout) == (6, False)


def test_the_command_prints_figures_or_json(model: Path, run_cli: Cli) -> None:
    text = run_cli("check", model).stdout
    assert "largest difference" in text
    assert "ok: it is the model that was trained" in text
    values = json.loads(run_cli("check", model, "--json").stdout)
    assert (values["pictures"], values["tolerance"], values["device"]) == (11, 1e-4, "CPU")


def test_a_pack_of_other_weights_or_pictures_is_refused(model: Path) -> None:
    pack = ParityPack.load(parity_pack_beside(model))
    ParityPack(pack.pictures, pack.probabilities, pack.names, "e" * 64).save(parity_pack_beside(model))
    with pytest.raises(ModelError, match="was made from checkpoint eeeeeeeeeeee"):
        check_model(model)
    small = np.zeros((11, SIDE // 2, SIDE // 2, 3), dtype=np.uint8)
    ParityPack(small, pack.probabilities, pack.names, "d" * 64).save(parity_pack_beside(model))
    with pytest.raises(InputError, match=r"takes uint8 \[N, 24, 24, 3\]"):
        check_model(model)


def test_without_a_pack_the_message_says_what_writes_it(model: Path) -> None:
    parity_pack_beside(model).unlink()
    with pytest.raises(InputError, match="alexnet export --onnx"):
        check_model(model)


def test_a_precision_without_tolerance_is_refused(tmp_path: Path) -> None:
    path = colour_model(tmp_path / "model.onnx", metadata(precision="fp3"))
    pictures = np.zeros((2, SIDE, SIDE, 3), dtype=np.uint8)
    ParityPack(pictures, expected(pictures), ["a", "b"], "d" * 64).save(parity_pack_beside(path))
    with pytest.raises(ModelError, match="its precision is 'fp3'"):
        check_model(path)
