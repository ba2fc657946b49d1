import cftime
import numpy as np
import pytest
import xarray as xr

from pipeline.judging import realism


def field(values, longitude=None):
    values = np.asarray(values, float)
    longitude = np.arange(values.shape[1]) * 360 / values.shape[1] if longitude is None else longitude
    coords = {"latitude": np.linspace(-60, 60, values.shape[0]), "longitude": longitude}
    return xr.DataArray(values, dims=("latitude", "longitude"), coords=coords)


def series(values):
    return xr.DataArray(np.asarray(values, float), dims="lead_time")


@pytest.mark.parametrize("longitude", [None, np.linspace(225, 315, 24)])
def test_spectrum_adds_up_to_the_zonal_variance(longitude):
    values = field(np.random.default_rng(0).normal(size=(5, 24)), longitude)
    weights = realism.area_weights(values).isel(longitude=0)
    variance = values.var("longitude").weighted(weights).mean()
    assert realism.zonal_spectrum(values).sum() == pytest.approx(variance.item())


def test_a_wave_has_its_wavenumber():
    wave = field(np.cos(3 * np.deg2rad(np.arange(36) * 10)) * np.ones((4, 1)))
    spectrum = realism.zonal_spectrum(wave)
    assert spectrum.idxmax() == 3
    assert spectrum.sel(wavenumber=3) == pytest.approx(0.5)  # mean of cos²
    assert spectrum.drop_sel(wavenumber=3).max() < 1e-12


def test_spectrum_leaves_holed_latitudes_out_and_stays_lazy():
    values = field(np.random.default_rng(1).normal(size=(4, 12)))
    holed = values.copy()
    holed[0, 3] = np.nan
    kept = realism.zonal_spectrum(values.isel(latitude=slice(1, None)))
    assert realism.zonal_spectrum(holed).sizes == kept.sizes
    assert realism.zonal_spectrum(holed).notnull().all()
    lazy = realism.zonal_spectrum(values.chunk(longitude=5))
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, realism.zonal_spectrum(values))


def test_autocorrelation_by_hand():
    # 1, 2, 3, 4 about 2.5: -1.5 -0.5 0.5 1.5, power 5; lag 1: 0.75 - 0.25 + 0.75 = 1.25; lag 2: -0.75 - 0.75
    got = realism.autocorrelation(series([1, 2, 3, 4]), lags=[0, 1, 2])
    np.testing.assert_allclose(got, [1, 0.25, -0.3])
    assert np.isnan(realism.autocorrelation(series([2, 2, 2]), lags=[1])).all()


def test_spells_by_hand():
    happens = xr.DataArray([[1, 1, 0, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0]], dims=("member", "lead_time"))
    got = realism.spell_lengths(happens, longest=3)
    np.testing.assert_array_equal(got, [[1, 1, 1], [0, 0, 0]])


def test_trend_by_hand():
    assert realism.trend(series([1, 3, 2, 6])).item() == pytest.approx(1.4)  # (-1.5 - 0.5*3 + 0.5*2 + 1.5*6) / 5
    assert np.isnan(realism.trend(series([1, np.nan, 3])))


def test_annual_cycle_in_any_calendar():
    time = xr.DataArray(
        [cftime.datetime(2000 + n // 12, n % 12 + 1, 16, calendar="360_day") for n in range(36)], dims="lead_time"
    )
    values = xr.DataArray(np.tile(np.arange(12.0), 3) + np.repeat([0, 1, 2], 12), dims="lead_time")
    cycle = realism.annual_cycle(values, time)
    np.testing.assert_allclose(cycle["mean"], np.arange(12) + 1)
    np.testing.assert_allclose(cycle["deviation"], np.sqrt(2 / 3))


def test_box_index_across_the_end_of_longitudes():
    values = field(np.broadcast_to(np.arange(36.0), (5, 36)))  # 0, 10, …, 350
    assert realism.box_index(values, latitude=(-35, 35), longitude=(340, 380)).item() == pytest.approx(
        (34 + 35 + 0 + 1 + 2) / 5
    )
    shifted = values.assign_coords(longitude=(values.longitude + 180) % 360 - 180).sortby("longitude")
    assert realism.box_index(shifted, latitude=(-35, 35), longitude=(-20, 20)).item() == pytest.approx(14.4)


def test_tails_and_joint_behaviour():
    rng = np.random.default_rng(3)
    values = xr.DataArray(rng.normal(size=(4, 20_000)), dims=("member", "lead_time"))
    tails = realism.tail_quantiles(values, levels=[0.01, 0.99], dims=["lead_time"])
    np.testing.assert_allclose(tails.mean("member"), [-2.326, 2.326], atol=0.05)
    other = xr.DataArray(rng.normal(size=(4, 20_000)), dims=("member", "lead_time"))
    joint = [realism.joint_exceedance(values, second, level=0.9, dims=["lead_time"]) for second in (other, values)]
    np.testing.assert_allclose(joint[0], 0.1, atol=0.03)
    np.testing.assert_allclose(joint[1], 1.0)


def test_place_among_members():
    members = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="member")
    placed = realism.place_among(members, xr.DataArray(3.0))
    assert placed["place"] == 0.625  # two below, one equal
    assert placed["median"] == 2.5
    assert np.isnan(realism.place_among(members, xr.DataArray(np.nan))["place"])
