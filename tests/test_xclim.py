"""Counts, runs, first passages and return levels against xclim's own."""

import numpy as np
import pytest
import xarray as xr
from xclim.indices import run_length
from xclim.indices.stats import fa

from tests.asking import forecast
from tests.test_answers import ask

CELL = "tas.mean(over=point(0, 121))"


@pytest.fixture(scope="module")
def ensemble():
    return forecast(members=60, leads=24, seed=8)


@pytest.fixture(scope="module")
def warm(ensemble):
    """Where the cell is above 283 K, dims ``(lead_time, member)``."""
    return (ensemble["tas"].isel(init_time=0).sel(latitude=0, longitude=120) > 283).drop_vars(
        ["valid_time", "init_time"]
    )


@pytest.mark.parametrize(
    ("verb", "theirs"),
    [
        ("count", lambda condition: condition.sum("lead_time")),
        ("run", lambda condition: run_length.longest_run(condition, dim="lead_time")),
    ],
)
def test_counts_and_longest_runs(ensemble, warm, verb, theirs):
    ours = ask(f"dist of ({CELL} > 283 K).{verb}(time=all)", ensemble).members["value"]
    np.testing.assert_array_equal(ours, theirs(warm))


@pytest.mark.parametrize("run", [1, 2, 4])
def test_first_passages(ensemble, warm, run):
    ours = ask(f"dist of ({CELL} > 283 K).first(time=all, run={run})", ensemble).members["value"]
    theirs = run_length.first_run(warm, window=run, dim="lead_time", coord=None)
    np.testing.assert_array_equal(np.where(np.isinf(ours), np.nan, ours), theirs + 1)  # leads count from 1


def test_return_levels():
    ensemble = forecast(members=30, leads=120, seed=3)
    text = "level of tas.mean(over=point(0, 121)).max(time=each year 2004..2012) return 400 years"
    ours = ask(text, ensemble).to_json()["value"]
    cell = ensemble["tas"].isel(init_time=0).sel(latitude=0, longitude=120)
    year = np.array([label.year for label in ensemble["valid_time"].values[0]])
    annual = np.concatenate([cell.values[year == one].max(axis=0) for one in range(2004, 2013)])
    maxima = xr.DataArray(annual, dims="time", attrs={"units": "K"}).assign_coords(
        time=xr.date_range("1700-01-01", periods=annual.size, freq="YS", calendar="noleap", use_cftime=True)
    )
    theirs = float(fa(maxima, t=400, dist="genextreme", mode="max").squeeze())
    assert ours["extrapolated"]
    assert ours["low"] < theirs < ours["high"]
    assert ours["value"] == pytest.approx(theirs, abs=0.3)
