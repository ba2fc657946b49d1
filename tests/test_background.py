import numpy as np
import pytest
import xarray as xr

from pipeline.background import Background, BackgroundConfig, Sample, fit_background
from pipeline.errors import TercileError
from pipeline.names import VARIABLES, canonical
from pipeline.pathway import warming_pathway
from pipeline.periods import season_phase, with_bounds
from tests.conftest import monthly_record

SST = {"sst": "none"}


def data(**settings):
    return with_bounds(canonical(monthly_record(**settings), variables={"sst": VARIABLES["sst"]}, spelling={})).load()


def fit(fields, covariates=None, **config):
    covariates = np.zeros((fields.sizes["time"], 0)) if covariates is None else covariates
    return fit_background([Sample(fields, covariates)], BackgroundConfig.model_validate(config), transforms=SST)


def test_a_known_cycle_and_trend_are_recovered():
    fields = data(years=60)
    phase, slope = season_phase(fields["time_bnds"]), np.linspace(-1, 1, 720)[:, None]
    fields["sst"] += 2.5 * slope[:, :, None]
    background = fit(fields, slope, harmonics=1, covariate={"kind": "trend"})
    np.testing.assert_allclose(background.mean["sst"][3][1:], 2.5, atol=0.6)  # the slope, within its sampling error
    expected = background.expected("sst", phase, slope)
    assert abs(np.nanmean(expected[:12]) - (288 - 2.5)) < 0.4
    assert np.isnan(expected[:, 0, 0]).all()


def test_standardise_and_restore_are_inverse():
    fields = data()
    phase, none = season_phase(fields["time_bnds"]), np.zeros((144, 0))
    background = fit(fields, harmonics=2)
    anomalies = background.standardise("sst", fields["sst"].values, phase, none)
    assert np.nanstd(anomalies) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(background.restore("sst", anomalies, phase, none), fields["sst"], rtol=1e-6)


def test_spread_by_season_is_recovered():
    fields = data(years=80)
    phase = season_phase(fields["time_bnds"])
    rng = np.random.default_rng(0)
    sd = 1 + 0.4 * np.cos(2 * np.pi * phase)
    fields["sst"].values[:, 1:, 1:] = 288 + sd[:, None, None] * rng.standard_normal((960, 4, 6))
    background = fit(fields, harmonics=1, spread_harmonics=2)
    found = np.nanmean(background.deviation("sst", phase[:12], np.zeros((12, 0)))[:, 1:, 1:], axis=(1, 2))
    np.testing.assert_allclose(found, sd[:12], rtol=0.08)


def test_a_trend_of_the_variance_ends_with_experience():
    """Noise that shrinks as a ramp rises: beyond the record it stays as small as it was at two deviations."""
    fields, ramp = data(years=80), np.linspace(0, 1, 960)
    noise = np.random.default_rng(0).standard_normal((960, 4, 6))
    fields["sst"].values[:, 1:, 1:] = 288 + (1.5 - ramp)[:, None, None] * noise
    background = fit(fields, ramp[:, None], harmonics=0, spread_harmonics=0, covariate={"kind": "trend"})
    beyond = ramp.mean() + ramp.std() * np.array([[1.0], [2.0], [3.0], [30.0]])
    deviation = background.deviation("sst", np.zeros(4), beyond)[:, 1, 1]
    assert deviation[0] > deviation[1] == deviation[2] == deviation[3] > 0


def test_round_trip_of_arrays():
    background = fit(data(), harmonics=2)
    again = Background.from_arrays(background.arrays(), transforms=SST)
    for name, array in background.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])


@pytest.mark.parametrize("transform", ["sqrt", "log"])
def test_transforms_keep_bounded_quantities_bounded(transform):
    fields = data()
    fields["sst"] = abs(fields["sst"] - 288) * 1e-5
    sample = Sample(fields, np.zeros((144, 0)))
    background = fit_background(
        [sample], BackgroundConfig.model_validate({"harmonics": 1}), transforms={"sst": transform}
    )
    phase = season_phase(fields["time_bnds"])
    far_down = background.restore("sst", np.full((144, 5, 7), -9.0), phase, np.zeros((144, 0)))
    assert np.nanmin(far_down) >= 0


def test_too_few_years_are_refused():
    with pytest.raises(TercileError, match="too few"):
        fit(data(years=1), harmonics=3)


def test_a_constant_cell_is_masked():
    fields = data()
    fields["sst"][:, 2, 2] = 290.0
    background = fit(fields, harmonics=1)
    assert np.isnan(background.variance["sst"][0, 2, 2])
    assert np.isfinite(background.variance["sst"][0, 2, 3])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda season: 288 + 0 * season, "'sst' is constant but for season, forcing and rounding in every cell"),
        (lambda season: 288 + season, "constant but for season"),
        (lambda season: 0 * season, "constant but for season"),
        (lambda season: np.where(season > 0.9, np.nan, season), "'sst' is missing at some training step in every"),
    ],
)
def test_a_variable_that_leaves_nothing_to_learn_is_refused(values, words):
    fields = data()
    season = values(np.cos(2 * np.pi * season_phase(fields["time_bnds"])))[:, None, None]
    fields["sst"] = (fields["sst"].dims, np.broadcast_to(season, fields["sst"].shape).astype("float32"))
    with pytest.raises(TercileError, match=words):
        fit(fields, harmonics=1)
    both = xr.concat([data()["sst"], fields["sst"]], xr.Variable("level", [500.0, 200.0]))
    with pytest.raises(TercileError, match="'sst' at level 200 is"):
        fit(fields.assign(sst=both), harmonics=1)


def test_pathway_of_a_straight_line_is_the_line_to_its_ends():
    year = np.arange(1900, 2000)
    field = xr.DataArray(
        np.broadcast_to(0.02 * (year - 1900)[:, None, None], (100, 2, 3)).copy(),
        dims=("time", "latitude", "longitude"),
        coords={
            "time": [np.datetime64(f"{y}-07-01", "ns") for y in year],
            "latitude": [0.0, 10.0],
            "longitude": [0.0, 5.0, 10.0],
        },
    )
    pathway = warming_pathway(field, reference=(1900, 1900), window=21)
    np.testing.assert_allclose(pathway, 0.02 * (year - 1900), atol=1e-9)
    with pytest.raises(TercileError, match="reference years 1800–1810 lie outside"):
        warming_pathway(field, reference=(1800, 1810), window=21)


def test_runs_count_as_data_however_many_each_stretch_has():
    """Three runs of one stretch and one of another say what the four say one after the other."""
    three, one = data(realizations=3), data(seed=5)
    ramps = [np.linspace(-1, 1, 144)[:, None], np.linspace(0, 2, 144)[:, None]]
    single = [three.isel(realization=[number]) for number in range(3)]
    config = BackgroundConfig.model_validate({"harmonics": 1, "covariate": {"kind": "trend"}})
    together = fit_background([Sample(three, ramps[0]), Sample(one, ramps[1])], config, transforms=SST)
    apart = fit_background([*(Sample(run, ramps[0]) for run in single), Sample(one, ramps[1])], config, transforms=SST)
    for part in ("mean", "variance"):
        np.testing.assert_allclose(getattr(together, part)["sst"], getattr(apart, part)["sst"], rtol=1e-9, atol=1e-9)


def ramp(labels, cycle=0.0):
    """A hundredth of a degree a year everywhere, with an annual cycle."""
    slow = 0.01 * (np.asarray(labels.year) + (np.asarray(labels.day_of_year) - 0.5) / 366 - 1900)
    values = 288 + slow + cycle * np.cos(np.pi * np.asarray(labels.month) / 6)
    axes = {"time": labels, "latitude": [0.0, 10.0], "longitude": [0.0, 10.0]}
    return xr.DataArray(np.tile(values[:, None, None], (1, 2, 2)), coords=axes)


def test_a_pathway_goes_straight_through_years_that_are_not_there():
    whole = ramp(xr.date_range("1900-01-01", periods=100, freq="YS"))
    part = whole.isel(time=np.r_[0:40, 70:100])
    found, wanted = (warming_pathway(field, reference=(1900, 1919), window=21) for field in (part, whole))
    np.testing.assert_allclose(found, wanted.sel(time=part["time"]), atol=1e-9)


@pytest.mark.parametrize(("first", "months"), [("1900-01-01", 606), ("1899-12-01", 601), ("1899-09-01", 610)])
def test_a_year_that_is_not_whole_does_not_pass_its_season_for_warming(first, months):
    """As of models whose years begin in December; half a year at either end of a record is held, 0.005 degrees."""
    labels = xr.date_range(first, periods=months, freq="MS")
    found = warming_pathway(ramp(labels, cycle=8.0), reference=(1900, 1919), window=21)
    wanted = ramp(labels)[:, 0, 0] - 288.1
    np.testing.assert_allclose(found, wanted, atol=0.006)
