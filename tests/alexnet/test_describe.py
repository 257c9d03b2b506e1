from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Cli = Callable[..., Result]


def test_the_table_of_the_paper(run_cli: Cli) -> None:
    text = run_cli("describe").output
    assert "60,965,224" in text
    assert "290,400" in text
    assert "253,440" in text
    assert "2 columns apart; ReLU; LRN 5 (column); pool 3/2" in text


def test_json_has_each_layer(run_cli: Cli) -> None:
    values = json.loads(run_cli("describe", "--json").output)
    assert values["parameters"] == 60_965_224
    assert sum(layer["parameters"] for layer in values["layers"]) == 60_965_224
    assert [layer["layer"] for layer in values["layers"]] == [
        *("conv1", "conv2", "conv3", "conv4", "conv5"),
        *("fc6", "fc7", "fc8"),
    ]


def test_a_recipe_and_its_fields_can_be_changed(run_cli: Cli) -> None:
    text = run_cli("describe", "--set", "network.columns=1", "--set", "network.dropout=0").output
    assert "columns apart" not in text
    assert "dropout" not in text


def test_an_unknown_field_ends_with_the_recipes_exit_code(run_cli: Cli) -> None:
    result = run_cli("describe", "--set", "network.depth=9")
    assert result.exit_code == 9
    assert "unknown field network.depth" in result.output
