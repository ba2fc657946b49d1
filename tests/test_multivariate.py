import numpy as np
import pytest
import scoringrules
import xarray as xr

from pipeline.judging.multivariate import energy_score, variogram_score
from pipeline.judging.scores import crps_ensemble

DIMS = ("latitude", "longitude")


def draw(members=7, cases=6, shape=(3, 4), *, seed=0):
    rng = np.random.default_rng(seed)
    forecast = xr.DataArray(rng.normal(size=(members, cases, *shape)), dims=("member", "case", *DIMS))
    return forecast, xr.DataArray(rng.normal(size=(cases, *shape)), dims=("case", *DIMS))


def test_by_hand():
    """Members (0, 0), (3, 4), (0, 4); truth (0, 0).

    Energy: distances 0, 5, 4, mean 3; pairs 5 + 4 + 3 = 12; fair 3 - 12/6 = 1, plain 3 - 12/9.
    Variogram of order 1 with one pair: differences 0, 1, 4, mean 5/3; of the truth 0: 25/9.
    """
    forecast = xr.DataArray([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0]], dims=("member", "cell"))
    truth = xr.DataArray([0.0, 0.0], dims="cell")
    assert energy_score(forecast, truth, dims=["cell"]).item() == pytest.approx(1.0)
    assert energy_score(forecast, truth, dims=["cell"], fair=False).item() == pytest.approx(3 - 12 / 9)
    assert variogram_score(forecast, truth, dims=["cell"], order=1).item() == pytest.approx(25 / 9)


def test_of_one_element_is_the_crps():
    forecast, truth = draw(shape=(1, 1))
    for fair in (True, False):
        crps = crps_ensemble(forecast, truth, fair=fair).squeeze(DIMS)
        np.testing.assert_allclose(energy_score(forecast, truth, dims=DIMS, fair=fair), crps)


def test_agrees_with_scoringrules():
    forecast, truth = draw()
    x, y = forecast.values.reshape(7, 6, 12).transpose(1, 0, 2), truth.values.reshape(6, 12)
    theirs = scoringrules.es_ensemble(y, x, estimator="fair")
    np.testing.assert_allclose(energy_score(forecast, truth, dims=DIMS), theirs, rtol=1e-9)
    theirs = scoringrules.vs_ensemble(y, x, p=0.5)  # a sum over ordered pairs, ours a mean
    np.testing.assert_allclose(variogram_score(forecast, truth, dims=DIMS), theirs / (12 * 11), rtol=1e-9)


def test_weights_leave_masked_cells_out():
    forecast, truth = draw()
    mask = xr.DataArray(np.arange(12).reshape(3, 4) % 3 != 0, dims=DIMS)
    holed = truth.where(mask)
    got = energy_score(forecast, holed, dims=DIMS, weights=mask.astype(float))
    flat = [
        array.stack(cell=DIMS).isel(cell=np.flatnonzero(mask)).drop_vars(["cell", *DIMS]) for array in (forecast, truth)
    ]
    np.testing.assert_allclose(got, energy_score(*flat, dims=["cell"]), rtol=1e-12)
    assert energy_score(forecast, holed, dims=DIMS).isnull().all()
    assert variogram_score(forecast, holed, dims=DIMS, weights=mask.astype(float)).notnull().all()


def test_double_weight_is_a_doubled_element():
    forecast, truth = draw(shape=(1, 3))
    weights = xr.DataArray([[1.0, 2.0, 1.0]], dims=DIMS)
    doubled = [array.isel(longitude=[0, 1, 1, 2]) for array in (forecast, truth)]
    np.testing.assert_allclose(
        energy_score(forecast, truth, dims=DIMS, weights=weights), energy_score(*doubled, dims=DIMS)
    )


def test_stays_lazy_and_takes_any_order_of_dims():
    forecast, truth = draw()
    whole = energy_score(forecast, truth, dims=DIMS)
    lazy = energy_score(
        forecast.chunk(member=3, latitude=1).transpose(..., "member"), truth.chunk(longitude=2), dims=DIMS
    )
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, whole, rtol=1e-12)


def test_sees_wrong_correlation():
    """Truth and right members share one value over all cells; wrong members have independent ones."""
    rng = np.random.default_rng(2)
    truth = xr.DataArray(np.repeat(rng.normal(size=(200, 1)), 5, 1), dims=("case", "cell"))
    right = xr.DataArray(np.repeat(rng.normal(size=(20, 200, 1)), 5, 2), dims=("member", "case", "cell"))
    wrong = xr.DataArray(rng.normal(size=(20, 200, 5)), dims=("member", "case", "cell"))
    for score in (energy_score, variogram_score):
        assert score(right, truth, dims=["cell"]).mean() < score(wrong, truth, dims=["cell"]).mean()


def test_bad_input_is_named():
    forecast, truth = draw()
    with pytest.raises(ValueError, match=r"they lack \['level'\]"):
        energy_score(forecast, truth, dims=["level"])
    with pytest.raises(ValueError, match="1 member"):
        variogram_score(forecast.isel(member=[0]), truth, dims=DIMS)
