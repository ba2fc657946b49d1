"""What is declared of a source is done to its values, against arithmetic by hand and an independent regridder."""

import numpy as np
import pytest
import xarray as xr
import xarray_regrid  # noqa: F401  (registers the accessor)
from pydantic import ValidationError

from pipeline.errors import InputRefusedError
from pipeline.grid import area_weights
from pipeline.intake.processing import Processing, narrowed, process
from pipeline.intake.regrid import regrid


def hourly(*, days=40, every=6, first="2000-01-01", step=10.0, calendar=None, seed=1):
    count = days * 24 // every
    if calendar is None:
        time = (np.datetime64(first, "h") + every * np.arange(count)).astype("datetime64[s]")
    else:
        time = xr.date_range(first, periods=count, freq=f"{every}h", calendar=calendar, use_cftime=True)
    lat, lon = np.arange(-90 + step / 2, 90, step), np.arange(0, 360, step)
    values = np.random.default_rng(seed).standard_normal((count, lat.size, lon.size)).astype("float32")
    dims = ("time", "latitude", "longitude")
    data = xr.Dataset(
        {"tas": (dims, values, {"units": "K"}), "pr": (dims, values**2, {"units": "kg m-2 s-1"})},
        coords={"time": time, "latitude": lat, "longitude": lon},
    )
    return data.chunk(time=30)


def done(data, accumulated=None, **settings):
    return process(data, Processing.model_validate(settings), accumulated=accumulated or {})


@pytest.mark.parametrize("how", ["mean", "min", "max", "sum"])
@pytest.mark.parametrize("to", ["days", "months"])
def test_steps_become_periods(how, to):
    data = hourly(days=70)
    found = done(data, aggregate={"to": to, "how": {"tas": how}})
    assert found["tas"].chunks is not None
    freq = {"days": "1D", "months": "1MS"}[to]
    expected = getattr(data["tas"].compute().resample(time=freq), how)()
    whole = {"days": 70, "months": 2}[to]  # March is not whole, so it is not there
    np.testing.assert_allclose(found["tas"], expected[:whole], rtol=1e-5, atol=1e-5)
    named = {"mean": "mean", "min": "minimum", "max": "maximum", "sum": "sum"}[how]
    assert found["tas"].attrs["cell_methods"] == f"time: {named}"
    assert found["pr"].attrs["cell_methods"] == "time: mean"
    assert (found["time_bnds"][1:, 0].values == found["time_bnds"][:-1, 1].values).all()


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_months_of_other_calendars_are_whole_too(calendar):
    found = done(hourly(days=60, calendar=calendar, first="2001-02-01"), aggregate={"to": "months"})
    assert found.sizes["time"] == {"noleap": 2, "360_day": 2}[calendar]
    days = np.diff(found["time_bnds"].values, axis=1)[:, 0]
    assert [item.days for item in days] == {"noleap": [28, 31], "360_day": [30, 30]}[calendar]


def test_a_years_mean_is_that_of_its_days():
    daily = done(hourly(days=731, first="2000-01-01", step=60.0), aggregate={"to": "days"})
    monthly = done(daily, aggregate={"to": "months"})
    yearly = done(monthly, aggregate={"to": "years", "how": {"pr": "max"}})
    expected = daily.compute().resample(time="1YS")
    np.testing.assert_allclose(yearly["tas"], expected.mean()["tas"], atol=1e-6)
    np.testing.assert_array_equal(yearly["pr"], monthly["pr"].compute().resample(time="1YS").max())
    assert (yearly["tas"].dtype, yearly["tas"].attrs["units"]) == (np.dtype("float32"), "K")


def test_a_box_takes_cells_on_its_edge_however_they_are_rounded():
    lat, lon = ((np.arange(-15, 16) / 10).astype("float32").astype("float64") for _ in range(2))
    axes = {"time": np.array(["2000-01-01", "2000-01-02"], "M8[s]"), "latitude": lat, "longitude": lon}
    data = xr.Dataset({"tas": (tuple(axes), np.zeros((2, 31, 31), "float32"))}, coords=axes)
    found = done(data, region="box(lat=-1.1..1.1, lon=-1.1..1.3)")
    assert (found.sizes["latitude"], found.sizes["longitude"]) == (23, 25)
    np.testing.assert_allclose(found["longitude"], np.arange(-11, 14) / 10, atol=1e-5)


def test_an_accumulation_belongs_to_the_day_it_fell_on():
    data = hourly(days=4)
    found = done(data, {"pr": 6.0}, aggregate={"to": "days"})
    inside = data["pr"].sel(time=slice("2000-01-01T06", "2000-01-02T00"))
    np.testing.assert_allclose(found["pr"][0], inside.mean("time"), rtol=1e-6)
    assert found.sizes["time"] == 3  # the last day's rain ends after the record


def test_the_last_day_of_the_years_has_the_rain_whose_label_lies_beyond_them():
    data = hourly(days=10, first="2000-12-28")
    found = done(data, {"pr": 6.0}, years=[2000, 2000], aggregate={"to": "days"})
    assert [str(day)[:10] for day in found["time"].values] == ["2000-12-28", "2000-12-29", "2000-12-30", "2000-12-31"]
    inside = data["pr"].sel(time=slice("2000-12-31T06", "2001-01-01T00"))
    np.testing.assert_allclose(found["pr"][-1], inside.mean("time"), rtol=1e-6)
    every = done(hourly(days=4, every=1, first="2000-12-30"), years=[2000, 2000], aggregate={"to": "days"})
    assert every.sizes["time"] == 2


def test_a_missing_step_makes_its_period_missing():
    data = hourly(days=3).compute()
    data["tas"][5, 2, 2] = np.nan
    found = done(data.chunk(), aggregate={"to": "days"})["tas"]
    assert np.isnan(found[1, 2, 2])
    assert int(found.isnull().sum()) == 1


def test_periods_that_cannot_be_made_are_refused():
    with pytest.raises(InputRefusedError, match="no whole period of months"):
        done(hourly(days=5, first="2000-01-10"), aggregate={"to": "months"})
    daily = done(hourly(), aggregate={"to": "days"})
    with pytest.raises(InputRefusedError, match="cannot be gathered into days"):
        done(daily, aggregate={"to": "days"})


@pytest.mark.parametrize("missing", [False, True])
def test_conservative_regridding_keeps_the_integral(missing):
    data = hourly(days=2, step=5.0)
    if missing:
        data = data.where((data["latitude"] > -60) | (data["longitude"] > 20))
    found = done(data, regrid={"step": 20, "least": 0})["tas"]
    assert found.shape == (8, 9, 18)
    assert found.chunks is not None
    if not missing:
        fine = data["tas"].weighted(area_weights(data)).mean(("latitude", "longitude"))
        coarse = found.weighted(area_weights(found)).mean(("latitude", "longitude"))
        np.testing.assert_allclose(coarse, fine, atol=2e-7)
    ones = done(data * 0 + 1, regrid={"step": 20, "least": 0})["tas"]
    np.testing.assert_allclose(ones.values[np.isfinite(ones)], 1, atol=1e-6)


def test_a_cell_of_which_too_little_is_known_is_missing():
    data = hourly(days=1, step=5.0)
    data = data.where(data["longitude"] >= 7.5)  # of the cell around 0 E the last quarter is known: 350 to 357.5 and on
    for least, expected in ((0.2, False), (0.9, True)):
        assert bool(done(data, regrid={"step": 20, "least": least})["tas"][0, 0, 0].isnull()) == expected


def test_both_methods_agree_with_xarray_regrid():
    data = hourly(days=1, step=5.0).compute()
    target = xr.Dataset(coords={"latitude": np.arange(-75, 76, 15.0), "longitude": np.arange(0, 360, 15.0)})
    ours = regrid(data, target["latitude"].values, target["longitude"].values, method="conservative", least=0)["tas"]
    theirs = data["tas"].regrid.conservative(target, latitude_coord="latitude")
    inside = {"latitude": slice(-60, 60), "longitude": slice(15, 330)}  # it goes by the cosine at the centre
    np.testing.assert_allclose(ours.sel(inside), theirs.sel(inside), atol=0.02)
    ours = regrid(data, target["latitude"].values, target["longitude"].values, method="bilinear", least=0)["tas"]
    np.testing.assert_allclose(ours.sel(inside), data["tas"].regrid.linear(target).sel(inside), atol=1e-6)


def test_bilinear_goes_round_the_circle():
    data = hourly(days=1, step=10.0)
    data["tas"] = data["tas"] * 0 + np.cos(np.deg2rad(data["longitude"])).astype("float32")
    found = done(data, regrid={"latitudes": [-80, 80, 5], "longitudes": [-175, 175, 36], "method": "bilinear"})["tas"]
    expected = np.cos(np.deg2rad(found["longitude"].values)) * np.cos(np.deg2rad(5))
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("box", "west", "east"),
    [
        ("box(lat=-20..20, lon=-35..45)", -30, 40),
        ("box(lat=-20..20, lon=120..290)", 120, 290),
        ("box(lat=-20..20, lon=160..-80)", 160, 280),
    ],
)
def test_a_region_may_lie_across_the_edge_of_the_grid(box, west, east):
    data = hourly(days=1)
    found = done(data, region=box)
    assert found["longitude"].values[[0, -1]].tolist() == [west, east]
    assert (np.diff(found["longitude"]) > 0).all()
    assert found["latitude"].values.tolist() == [-15, -5, 5, 15]
    for lon in (west, east):
        np.testing.assert_array_equal(
            found["tas"].sel(longitude=lon), data["tas"].sel(latitude=slice(-20, 20), longitude=lon % 360)
        )


@pytest.mark.parametrize("box", ["box(lat=-20..20, lon=30..100)", "box(lat=-20..20, lon=-35..45)"])
def test_a_regridded_region_is_the_region_of_the_regridded_globe(box):
    data = hourly(days=1, step=5.0)
    grid = {"step": 10, "method": "bilinear"}
    part = done(data, region=box, regrid=grid)["tas"]
    whole = done(done(data, regrid=grid), region=box)["tas"]
    np.testing.assert_allclose(part, whole, atol=1e-6)
    np.testing.assert_allclose((part["longitude"] - whole["longitude"]) % 360, 0)


@pytest.mark.parametrize("method", ["conservative", "bilinear"])
@pytest.mark.parametrize("west", [-70, 150, 290])
def test_a_regional_record_has_its_own_part_of_the_grid(west, method):
    globe = hourly(days=1, step=2.5)
    columns = np.arange(west + 1.25, west + 80, 2.5)
    part = globe.sel(latitude=slice(31, 69)).sel(longitude=(columns - 1.25) % 360).assign_coords(longitude=columns)
    found = done(part, regrid={"step": 5, "method": method})["tas"]
    whole = done(globe.assign_coords(longitude=globe["longitude"] + 1.25), regrid={"step": 5, "method": method})["tas"]
    assert found["latitude"].values.tolist() == [*np.arange(32.5, 70, 5)]
    assert found["longitude"].values.tolist() == [*np.arange(west + 5, west + 80, 5.0)]
    assert bool(found.notnull().all())
    inner = found.isel(latitude=slice(1, -1), longitude=slice(1, -1))
    same = whole.sel(latitude=inner["latitude"]).sel(longitude=inner["longitude"].values % 360)
    np.testing.assert_allclose(inner, same, atol=1e-6)


def test_a_step_wider_than_the_record_is_refused():
    with pytest.raises(InputRefusedError, match="covers no cell of that `step`"):
        done(hourly(days=1, step=10.0).isel(latitude=slice(9, 10), longitude=slice(3, 5)), regrid={"step": 90})


def test_what_is_cut_early_changes_nothing():
    data = hourly(days=400, every=24)
    settings = {"years": [2000, 2000], "region": "box(lat=-20..20, lon=30..100)", "aggregate": {"to": "months"}}
    config = Processing.model_validate(settings)
    cut = narrowed(data, config)
    assert cut.sizes["longitude"] < data.sizes["longitude"]
    xr.testing.assert_identical(process(cut, config, accumulated={}).compute(), done(data, **settings).compute())


def test_levels_are_picked_by_pressure():
    data = hourly(days=1).expand_dims(level=[250.0, 500.0, 850.0]).transpose("time", "level", ...)
    assert done(data, levels=[500, 850])["level"].values.tolist() == [500, 850]
    with pytest.raises(InputRefusedError, match=r"no level \[300.0\] hPa"):
        done(data, levels=[300])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regrid": {"step": 5, "latitudes": [-90, 90, 5]}}, "either `step`"),
        ({"region": "point(4, 5)"}, "is no box"),
        ({"years": [2001, 1999]}, "run backwards"),
        ({"aggregate": {"to": "weeks"}}, "'days', 'months' or 'years'"),
    ],
)
def test_wrong_settings_are_said(settings, message):
    with pytest.raises(ValidationError, match=message):
        Processing.model_validate(settings)


def test_nothing_left_is_said():
    with pytest.raises(InputRefusedError, match="nothing of the source lies in years 1950–1960"):
        done(hourly(), years=[1950, 1960])
