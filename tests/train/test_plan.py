"""Predictions against values worked by hand, at the limits, and in their order; the command on top."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from alexnet.architecture import layer_table
from alexnet.errors import InputError, RecipeError
from alexnet.recipe import ComputeRecipe, Recipe
from alexnet.train.plan import Compute, Mesh, Network, make_plan, meshes, plan_values, predict, read_compute

PAPER = layer_table(Recipe().network)
Cli = Callable[..., Result]


def test_a_step_is_the_sum_that_the_papers_sizes_give() -> None:
    # 1 ms a picture and 10 ms a step; 1 GB/s and 0.1 ms a message; 128 pictures on 2 x 2.
    found = predict(PAPER, 128, Mesh(2, 2), Compute(0.001, 0.010), Network(1e9, 1e-4))
    assert found.compute == pytest.approx((0.010 + 64 * 0.001) / 2)
    # 64 crops of 123,344 bytes out, all but the 2,000 of the logits back, in 5 + 4 messages.
    assert found.crossing == pytest.approx(64 * (123_344 + 121_344) / 1e9 + 9e-4)
    # Half of the gradients, whole once round a ring of two; 2 messages for them, 2 for the loss, 6 for the stop.
    assert found.reduction == pytest.approx(60_965_224 * 2 / 1e9 + 10e-4)
    assert found.rate == pytest.approx(128 / (0.037 + 0.015660032 + 0.0009 + 0.121930448 + 0.001))
    assert found.efficiency == pytest.approx(found.rate / (4 * 128 / 0.138))


def test_in_bfloat16_activations_cross_in_half_the_bytes_and_gradients_of_weights_in_all() -> None:
    recipe = Recipe(compute=ComputeRecipe(precision="bf16"))
    single, half = (
        make_plan(each, 4, Compute(0.001), Network(1e9), 1000).predictions[-1] for each in (Recipe(), recipe)
    )
    assert single.mesh == half.mesh == Mesh(2, 2)
    assert half.crossing == pytest.approx(single.crossing / 2) == pytest.approx(64 * (123_344 + 121_344) / 2e9)
    assert half.reduction == single.reduction


def test_a_ring_of_four_passes_three_quarters_of_the_gradients_twice() -> None:
    found = predict(PAPER, 128, Mesh(4, 1), Compute(0.001), Network(1e9))
    assert found.reduction == pytest.approx(1.5 * 60_965_224 * 4 / 1e9)
    assert found.crossing == 0.0
    assert found.compute == pytest.approx(0.032)


@pytest.mark.parametrize("mesh", [Mesh(1, 2), Mesh(2, 1), Mesh(8, 2), Mesh(64, 2)])
def test_without_cost_of_communication_scaling_is_linear(mesh: Mesh) -> None:
    found = predict(PAPER, 128, mesh, Compute(0.001), Network(math.inf))
    assert found.rate == pytest.approx(1000 * mesh.ranks)
    assert found.efficiency == pytest.approx(1.0)


def test_the_work_of_each_step_limits_the_data_ranks_and_not_the_columns() -> None:
    compute, network = Compute(0.001, 0.128), Network(math.inf)
    assert predict(PAPER, 128, Mesh(1, 2), compute, network).efficiency == pytest.approx(1.0)
    # Alone 256 ms; on two data ranks 64 + 128 each.
    assert predict(PAPER, 128, Mesh(2, 1), compute, network).rate == pytest.approx(128 / 0.192)


def test_a_batch_that_does_not_divide_waits_for_the_largest_share() -> None:
    found = predict(PAPER, 128, Mesh(3, 1), Compute(0.001), Network(math.inf))
    assert found.compute == pytest.approx(0.043)


@pytest.mark.parametrize("mesh", [Mesh(1, 2), Mesh(4, 1), Mesh(4, 2)])
def test_a_faster_network_is_never_slower_and_a_longer_way_never_faster(mesh: Mesh) -> None:
    def rate(bandwidth: float, latency: float) -> float:
        return predict(PAPER, 128, mesh, Compute(0.0003), Network(bandwidth, latency)).rate

    rates = [rate(bandwidth, 1e-5) for bandwidth in (1e8, 1e9, 1e10, 1e11)]
    assert rates == sorted(rates) and rates[0] < rates[-1]
    later = [rate(1e10, latency) for latency in (1e-3, 1e-4, 1e-5, 0.0)]
    assert later == sorted(later) and later[0] < later[-1]


def test_ranks_that_share_a_processor_are_slower_by_as_much() -> None:
    alone = predict(PAPER, 128, Mesh(2, 2), Compute(0.001), Network(1e9))
    shared = predict(PAPER, 128, Mesh(2, 2), Compute(0.001), Network(1e9), slower=2.0)
    assert shared.seconds == pytest.approx(2 * alone.seconds)


def test_the_meshes_are_those_that_the_devices_and_the_batch_allow() -> None:
    assert meshes(6, 2, 128) == [
        *(Mesh(1, 1), Mesh(2, 1), Mesh(1, 2), Mesh(4, 1), Mesh(2, 2), Mesh(6, 1), Mesh(3, 2)),
    ]
    assert meshes(4, 1, 2) == [Mesh(1, 1), Mesh(2, 1)]
    assert meshes(2, 3, 128) == [Mesh(1, 1), Mesh(2, 1)]


def test_the_fastest_mesh_is_recommended_and_a_slow_network_recommends_one_device() -> None:
    compute = Compute(1 / 3000)
    fast = make_plan(Recipe(), 8, compute, Network(1e15), 1_281_167)
    assert fast.recommended.mesh.ranks == 8
    slow = make_plan(Recipe(), 8, compute, Network(1e6), 1_281_167)
    assert slow.recommended.mesh == Mesh(1, 1)
    assert slow.hours(slow.recommended) == pytest.approx(1_281_167 * 90 / 3000 / 3600)


@pytest.mark.parametrize(
    ("compute", "network"),
    [
        (Compute(0.0), Network(1e9)),
        (Compute(-1.0, 2.0), Network(1e9)),
        (Compute(math.nan), Network(1e9)),
        (Compute(0.001), Network(0.0)),
        (Compute(0.001), Network(math.inf)),
        (Compute(0.001), Network(math.nan)),
        (Compute(0.001), Network(1e9, -1.0)),
    ],
)
def test_speeds_of_no_meaning_are_refused(compute: Compute, network: Network) -> None:
    with pytest.raises(InputError, match=r"expected numbers from 0|a number above 0"):
        make_plan(Recipe(), 2, compute, network, 1000)


def test_a_recipe_without_classes_is_refused(run_cli: Cli) -> None:
    found = run_cli("plan", "--gpus", 2, "--network", 1, "--images-per-second", 10, "--recipe", "quickstart")
    assert found.exit_code == RecipeError.exit_code
    assert "--set network.classes=10" in found.output


def test_the_command_prints_a_row_for_each_mesh_and_what_it_assumes(run_cli: Cli) -> None:
    found = run_cli("plan", "--gpus", 4, "--network", 12.5, "--images-per-second", 3000)
    assert found.exit_code == 0, found.output
    rows = [line for line in found.output.splitlines() if " x " in line and "data x" not in line]
    assert [line.split()[0:3:2] for line in rows] == [["1", "1"], ["2", "1"], ["1", "2"], ["4", "1"], ["2", "2"]]
    assert sum("recommended" in line for line in rows) == 1
    assert "torchrun --nproc-per-node 4 -m alexnet train --recipe imagenet --columns split" in found.output
    assert "nothing overlaps" in found.output


def test_what_was_measured_is_read_back(run_cli: Cli, tmp_path: Path) -> None:
    made = make_plan(Recipe(), 2, Compute(0.001, 0.02), Network(1e9), 1000)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_values(made)))
    assert read_compute(path) == Compute(0.001, 0.02)
    arguments = ("plan", "--gpus", 2, "--network", 1, "--latency", 0, "--pictures", 1000, "--measured", path, "--json")
    found = run_cli(*arguments)
    assert json.loads(found.output) == plan_values(made)
    for text in ('{"meshes": []}', '{"compute": {"a": 1}}', '{"compute": {"seconds_per_picture": "x"}}', "[1]", "null"):
        path.write_text(text)
        refused = run_cli(*arguments)
        assert refused.exit_code == InputError.exit_code
        assert "holds no measured compute" in refused.output


@pytest.mark.parametrize("more", [(), ("--measure", "--images-per-second", 3), ("--images-per-second", "nan")])
def test_compute_is_said_once_and_is_a_number(run_cli: Cli, more: tuple[str | int, ...]) -> None:
    found = run_cli("plan", "--gpus", 2, "--network", 1, *map(str, more))
    assert found.exit_code == (InputError.exit_code if "nan" in more else 2)
