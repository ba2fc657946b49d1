import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from models.base import Grid
from models.surroundings import RADIUS, Surroundings


def grid(*, is_global: bool, mask: torch.Tensor | None = None) -> Grid:
    every = torch.ones(2, 12, 40, dtype=torch.bool)
    return Grid(torch.ones(12, 40), every if mask is None else mask, is_global)


def field() -> torch.Tensor:
    return torch.randn(3, 2 * 12 * 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_constant_field_surrounds_itself_whatever_the_mask():
    mask = torch.rand(2, 12, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    mean = Surroundings.of(grid(is_global=True, mask=mask))(torch.full((960,), 3.0, dtype=torch.float64))
    assert torch.allclose(mean[mask.flatten()], torch.tensor(3.0, dtype=torch.float64))
    assert not mean[~mask.flatten()].any()


def test_cells_without_data_have_no_say():
    mask = torch.rand(2, 12, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    around = Surroundings.of(grid(is_global=False, mask=mask))
    spoilt = torch.where(mask.flatten(), field(), 1e9)
    assert torch.equal(around(spoilt)[:, mask.flatten()], around(field())[:, mask.flatten()])


def test_the_weights_are_those_of_a_gaussian_filter():
    """Along longitude, on a closed circle of one row and far from nothing."""
    circle = Grid(torch.ones(1, 40), torch.ones(1, 1, 40, dtype=torch.bool), is_global=True)
    values = np.random.default_rng(2).standard_normal(40)
    expected = gaussian_filter1d(values, RADIUS, mode="wrap", truncate=9)
    np.testing.assert_allclose(Surroundings.of(circle)(torch.from_numpy(values)), expected, atol=1e-12)


@pytest.mark.parametrize("is_global", [True, False])
def test_the_transposed_mean_gives_the_same_products(is_global):
    mask = torch.rand(2, 12, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    around = Surroundings.of(grid(is_global=is_global, mask=mask))
    weights = field().flip(1)
    torch.testing.assert_close(around(field()) @ weights.T, field() @ around.transposed(weights).T)


@pytest.mark.parametrize("is_global", [True, False])
def test_rolling_the_longitude_rolls_the_mean_where_it_closes_the_circle(is_global):
    around = Surroundings.of(grid(is_global=is_global))
    shaped = field().reshape(3, 2, 12, 40)
    rolled = around(shaped.roll(7, dims=3).flatten(1)).reshape(shaped.shape)
    assert torch.allclose(rolled, around(field()).reshape(shaped.shape).roll(7, dims=3)) == is_global
