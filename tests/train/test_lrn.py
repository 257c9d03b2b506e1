from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet.architecture import MapNorm, ResponseNorm
from alexnet.train.lrn import LocalMapNorm, LocalResponseNorm, ResponseNormFunction, band

Wide = npt.NDArray[np.float64]


def formula(a: Wide, norm: ResponseNorm, columns: int) -> Wide:
    """Section 3.3 written out: map i of a column sums the squares of its neighbours in that column."""
    out = np.empty_like(a)
    width = a.shape[1] // (columns if norm.scope == "column" else 1)
    for i in range(a.shape[1]):
        first = i // width * width
        low, high = max(first, i - norm.size // 2), min(first + width - 1, i + norm.size // 2)
        total = sum(a[:, j] ** 2 for j in range(low, high + 1))
        out[:, i] = a[:, i] / (norm.k + norm.alpha * total) ** norm.beta
    return out


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1, 3, 5, 7, 9]),
    alpha=st.floats(1e-6, 1e-1),
    beta=st.one_of(st.just(0.75), st.floats(0.1, 1.5)),
    k=st.floats(0.5, 4.0),
    scope=st.sampled_from(["column", "layer"]),
    columns=st.sampled_from([1, 2]),
    scale=st.sampled_from([1e-3, 1.0, 300.0]),
)
def test_equals_the_formula_in_float64(
    seed: int, size: int, alpha: float, beta: float, k: float, scope: str, columns: int, scale: float
) -> None:
    norm = ResponseNorm(size, alpha, beta, k, scope)  # type: ignore[arg-type]
    a = np.random.default_rng(seed).normal(0, scale, (2, 12, 3, 3)).astype(np.float32)
    expected = formula(a.astype(np.float64), norm, columns)
    found = LocalResponseNorm(norm, 12, columns)(torch.from_numpy(a)).numpy()
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


def test_torchs_operator_agrees_when_alpha_is_scaled_by_size() -> None:
    a = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0)) * 100
    ours = LocalResponseNorm(ResponseNorm(scope="layer"), 16, 2)(a)
    theirs = torch.nn.functional.local_response_norm(a, 5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    unscaled = torch.nn.functional.local_response_norm(a, 5, alpha=1e-4, beta=0.75, k=2.0)
    assert (ours - unscaled).abs().max() > 0.01


def test_columns_do_not_see_each_other() -> None:
    layer = LocalResponseNorm(ResponseNorm(), 8, 2)
    a = torch.ones(1, 8, 1, 1)
    louder = a.clone()
    louder[:, 4:] = 1000.0
    assert torch.equal(layer(a)[:, :4], layer(louder)[:, :4])
    assert not torch.equal(
        LocalResponseNorm(ResponseNorm(scope="layer"), 8, 2)(a)[:, :4],
        LocalResponseNorm(ResponseNorm(scope="layer"), 8, 2)(louder)[:, :4],
    )


def test_band_has_ones_where_maps_are_adjacent() -> None:
    weights = band(6, 2, 3)[:, :, 0, 0]
    assert weights.tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]] * 2


def test_gradient_is_the_formulas() -> None:
    layer = LocalResponseNorm(ResponseNorm(alpha=0.1), 6, 2)
    a = torch.randn(1, 6, 2, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    layer(a).sum().backward()
    assert a.grad is not None
    values = a.detach().numpy().astype(np.float64)
    step = 1e-6
    for place in np.ndindex(*values.shape):
        up, down = values.copy(), values.copy()
        up[place] += step
        down[place] -= step
        slope = (formula(up, layer.norm, 2).sum() - formula(down, layer.norm, 2).sum()) / (2 * step)
        assert abs(float(a.grad[place]) - slope) < 1e-4


def test_autocast_does_not_narrow_the_sum() -> None:
    a = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 300
    layer = LocalResponseNorm(ResponseNorm(), 8, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(a), layer(a.clone()))
        narrow = layer(a.bfloat16())
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow, layer(a.bfloat16().float()).bfloat16())


def test_map_norm_equals_its_formula() -> None:
    norm = MapNorm(alpha=0.01)
    a = np.random.default_rng(0).normal(0, 3, (1, 2, 7, 6))
    padded = np.pad(a**2, ((0, 0), (0, 0), (2, 2), (2, 2)))
    total = sum(padded[:, :, y : y + 7, x : x + 6] for y in range(5) for x in range(5))
    expected = a / (norm.k + norm.alpha * total) ** norm.beta
    found = LocalMapNorm(norm)(torch.from_numpy(a.astype(np.float32))).numpy()
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("scope", ["column", "layer"])
def test_the_gradient_is_that_of_the_formula(beta: float, scope: Literal["column", "layer"]) -> None:
    norm = ResponseNorm(5, 0.0625, beta, 2.0, scope)
    layer = LocalResponseNorm(norm, 12, 2).double()
    a = torch.randn(2, 12, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3

    def normalised(a: torch.Tensor) -> torch.Tensor:
        b: torch.Tensor = ResponseNormFunction.apply(a, layer.band, layer.k, beta, layer.groups)
        return b

    assert np.abs(normalised(a).numpy() - formula(a.numpy(), norm, 2)).max() < 1e-12
    assert torch.autograd.gradcheck(normalised, [a.requires_grad_()], atol=1e-7)


def test_bfloat16_maps_get_bfloat16_gradients() -> None:
    layer = LocalResponseNorm(ResponseNorm(alpha=1e-3), 16, 2)
    wide = (torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0)) * 30).requires_grad_()
    narrow = wide.detach().bfloat16().requires_grad_()
    for maps in (wide, narrow):
        layer(maps).float().square().sum().backward()
    assert wide.grad is not None and narrow.grad is not None
    assert narrow.grad.dtype == torch.bfloat16
    assert (narrow.grad.float() - wide.grad).abs().max() < 0.02 * wide.grad.abs().max()
