import numpy as np
import pytest
import scoringrules
import xarray as xr

from pipeline.judging.categories import (
    QUINTILES,
    TERCILES,
    category_edges,
    category_probabilities,
    rps_ensemble,
    skill_score,
)


def members(values):
    return xr.DataArray(np.asarray(values, float), dims=("member", "point")[: np.ndim(values)])


EDGES = xr.DataArray([1.5, 3.5], dims="edge")


def test_by_hand():
    """Members 1, 2, 5 fall into low, middle, high; truth 4 into high.

    Below the edges: 1/3 and 2/3 of the members, the truth below neither: 1/9 + 4/9 = 5/9.
    Fair: less p (1 - p) / (M - 1) = (2/9) / 2 at each edge: 5/9 - 2/9 = 1/3.
    """
    forecast, truth = members([1, 2, 5]), xr.DataArray(4.0)
    assert rps_ensemble(forecast, truth, edges=EDGES, fair=False).item() == pytest.approx(5 / 9)
    assert rps_ensemble(forecast, truth, edges=EDGES).item() == pytest.approx(1 / 3)
    np.testing.assert_allclose(category_probabilities(forecast, edges=EDGES), [1 / 3, 1 / 3, 1 / 3])


def test_a_value_on_an_edge_belongs_below():
    shares = category_probabilities(members([1.5, 1.5, 3.5]), edges=EDGES)
    np.testing.assert_allclose(shares, [2 / 3, 1 / 3, 0], atol=1e-15)


def test_agrees_with_scoringrules():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(11, 30)), rng.normal(size=30)
    edges = xr.DataArray([-0.4, 0.5], dims="edge")
    shares = category_probabilities(members(x), edges=edges).values
    theirs = scoringrules.rps_score(np.searchsorted(edges, y) + 1, shares.T)
    ours = rps_ensemble(members(x), xr.DataArray(y, dims="point"), edges=edges, fair=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("levels", [TERCILES, QUINTILES])
def test_equal_categories_and_climatology_has_no_skill(levels):
    rng = np.random.default_rng(1)
    climate = xr.DataArray(rng.gamma(2, size=(3000, 4)), dims=("time", "point"))
    edges = category_edges(climate, levels=levels)
    shares = category_probabilities(climate.rename(time="member"), edges=edges)
    np.testing.assert_allclose(shares, 1 / (len(levels) + 1), atol=0.01)
    truth = xr.DataArray(rng.gamma(2, size=(5000, 4)), dims=("case", "point"))
    forecast = xr.DataArray(rng.gamma(2, size=(10, 5000, 4)), dims=("member", "case", "point"))
    got = rps_ensemble(forecast, truth, edges=edges).mean()
    exact = sum(level * (1 - level) for level in levels)
    assert got == pytest.approx(exact, rel=0.03)
    assert skill_score(got, xr.DataArray(exact)) == pytest.approx(0, abs=0.03)


def test_missing_values_stay_missing():
    forecast = members([[1, np.nan, 3, 1], [2, 2, 4, 2]])
    truth = xr.DataArray([1.0, 1.0, np.nan, 1.0], dims="point")
    edges = EDGES * xr.DataArray([1, 1, 1, np.nan], dims="point")
    np.testing.assert_array_equal(rps_ensemble(forecast, truth, edges=edges).isnull(), [False, True, True, True])
    missing = category_probabilities(forecast, edges=edges).isnull().transpose("category", "point")
    np.testing.assert_array_equal(missing, [[False, True, False, True]] * 3)
    assert np.isnan(skill_score(xr.DataArray(1.0), xr.DataArray(0.0)))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="must increase"):
        category_edges(members([1, 2]), levels=(0.6, 0.3), dim="member")
    with pytest.raises(ValueError, match="no 'edge'"):
        rps_ensemble(members([1, 2]), xr.DataArray(1.0), edges=EDGES.rename(edge="quantile"))
