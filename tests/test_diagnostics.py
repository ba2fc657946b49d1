import cftime
import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from pipeline.judging import diagnostics
from pipeline.judging.diagnostics import diagnose


def red_noise(shape, *, memory, rng, axis=0):
    values = rng.normal(size=shape)
    out = np.zeros(shape)
    out[0] = values[0]
    for n in range(1, shape[axis]):
        out[n] = memory * out[n - 1] + np.sqrt(1 - memory**2) * values[n]
    return out


def run(
    *, leads=60, inits=1, size=20, memory=0.5, scale=1.0, slope=0.0, smooth=0.0, seed=0, names=("tas",), extra=None
):
    """Members and truth of red noise; arguments make the members different from the truth."""
    rng = np.random.default_rng(seed)
    coords = {
        "lead_time": ("lead_time", np.arange(1, leads + 1), {"units": "years"}),
        "latitude": np.linspace(30.0, 50, 5),
        "longitude": np.arange(0.0, 64, 4),
    }
    truth = np.stack([red_noise((leads, 5, 16), memory=0.5, rng=rng) for _ in range(inits)])
    members = np.stack(
        [np.stack([red_noise((leads, 5, 16), memory=memory, rng=rng) for _ in range(size)], 1) for _ in range(inits)]
    )
    members = scale * members + slope * np.arange(leads)[:, None, None, None]
    members = gaussian_filter1d(members, smooth, axis=-1) if smooth else members
    dims = ("init_time", "lead_time", "member", "latitude", "longitude")
    fields = {name: (dims, members, {"units": "K"}) for name in names}
    ensemble = xr.Dataset(fields, coords=coords)
    laid = {name: xr.DataArray(truth, dims=(*dims[:2], *dims[3:]), coords=coords) for name in names}
    normal = {name: xr.zeros_like(one) for name, one in laid.items()}
    return ensemble, laid, normal


def rows_of(*args):
    rows, spectra = diagnose(*args)
    return {row["diagnostic"]: row for row in rows["tas"]}, spectra


def test_members_of_the_same_law_are_like_the_truth():
    places = []
    for seed in range(8):
        rows, _ = rows_of(*run(seed=seed))
        places += [row["place"] for row in rows.values()]
        assert set(rows) == {
            "trend of the area mean",
            "variance at a cell",
            "variance of the area mean",
            "1 % quantile",
            "99 % quantile",
            "correlation with the step before",
            "length of spells",
        }
    assert np.mean((np.array(places) < 0.05) | (np.array(places) > 0.95)) < 0.3
    assert 0.3 < np.mean(places) < 0.7


@pytest.mark.parametrize(
    ("fault", "diagnostic", "too_high"),
    [
        ({"scale": 1.6}, "variance at a cell", True),
        ({"scale": 0.5}, "99 % quantile", False),
        ({"memory": 0.9}, "correlation with the step before", True),
        ({"memory": 0.0}, "length of spells", False),
        ({"slope": 0.05}, "trend of the area mean", True),
    ],
)
def test_each_fault_shows_in_its_diagnostic(fault, diagnostic, too_high):
    rows, _ = rows_of(*run(**fault))
    assert rows[diagnostic]["place"] == (0 if too_high else 1)
    outside = rows[diagnostic]["observed"] < rows[diagnostic]["low"]
    assert outside == too_high


def test_smoothed_members_lack_variance_at_short_waves_alone():
    _, spectra = rows_of(*run(smooth=1.0))
    ratio = (spectra["median"] / spectra["observed"]).isel(variable=0)
    assert float(ratio[-4:].mean()) < 0.2
    assert float(ratio[:2].mean()) > 0.5
    assert spectra.sizes["wavenumber"] == 15


def test_short_forecasts_from_many_starts_are_averaged():
    ensemble, truth, normal = run(leads=3, inits=15)
    rows, _ = rows_of(ensemble, truth, normal)
    assert "trend of the area mean" not in rows
    assert rows["variance at a cell"]["starts"] == diagnostics.STARTS
    assert rows["variance at a cell"]["observed"] == pytest.approx(1, abs=0.2)


def test_only_known_leads_and_cells_count_and_nothing_known_gives_nothing():
    ensemble, truth, normal = run()
    truth["tas"][:, 40:] = np.nan
    truth["tas"][..., 0, 0] = np.nan
    rows, spectra = rows_of(ensemble, truth, normal)
    assert np.isfinite(rows["variance at a cell"]["observed"])
    assert spectra["observed"].notnull().all()
    rows, spectra = diagnose(ensemble, {"tas": truth["tas"] * np.nan}, normal)
    assert rows == {}
    assert not spectra.data_vars


def test_a_mask_in_every_row_leaves_no_spectrum_but_all_else():
    ensemble, truth, normal = run()
    truth["tas"][..., 3] = np.nan
    rows, spectra = rows_of(ensemble, truth, normal)
    assert not spectra.data_vars
    assert rows["variance at a cell"]["place"] is not None


def test_scenarios_stay_apart_and_two_variables_are_looked_at_together():
    parts = [run(seed=seed, names=("tas", "pr"), leads=30) for seed in (1, 2)]
    ensemble = xr.concat([part[0] for part in parts], xr.Variable("scenario", ["A", "B"]))
    truth = {
        name: xr.concat([part[1][name] for part in parts], xr.Variable("scenario", ["A", "B"]))
        for name in ("tas", "pr")
    }
    truth["tas"][1] = np.nan  # B is not judged
    truth["pr"][1] = np.nan
    rows, spectra = diagnose(ensemble, truth, parts[0][2])
    assert {row["scenario"] for found in rows.values() for row in found} == {"A"}
    joint = next(row for row in rows["tas"] if "together" in row["diagnostic"])
    assert joint["observed"] == 1  # one field under two names
    assert spectra.sizes["scenario"] == 1
    assert set(spectra["variable"].values) == {"tas", "pr"}


@pytest.mark.parametrize(("swing", "place"), [(1.0, None), (2.5, "high")])
def test_el_nino_and_the_cycle_left_are_measured_where_the_grid_and_the_steps_have_them(swing, place):
    ensemble, truth, normal = run(leads=48, inits=3, seed=5)
    tropics = {"latitude": np.linspace(-8.0, 8, 5), "longitude": np.linspace(180.0, 255, 16)}
    time = np.array([[cftime.datetime(2000 + n // 12 + i, n % 12 + 1, 1) for n in range(48)] for i in range(3)])
    phase = np.cos(2 * np.pi * np.arange(48) / 12)[:, None, None, None]
    ensemble = ensemble.assign_coords(valid_time=(("init_time", "lead_time"), time), **tropics)
    ensemble["tas"] = swing * ensemble["tas"] + (swing - 1) * phase
    truth, normal = ({name: one.assign_coords(tropics) for name, one in part.items()} for part in (truth, normal))
    rows, _ = rows_of(ensemble, truth, normal)
    names = ("variance of Niño 3.4", "annual cycle left in the area mean")
    assert all(rows[name]["place"] < 0.05 if place else 0 <= rows[name]["place"] <= 1 for name in names)
    assert -1 < rows["correlation of Niño 3.4 with the step before"]["observed"] < 1
    assert rows["variance of Niño 3.4"]["units"] == "K²"


def test_two_variables_are_joined_in_the_starts_and_cells_that_both_have():
    ensemble, truth, normal = run(inits=3, leads=12, size=6, names=("tas", "pr"))
    truth["pr"] = truth["pr"].copy()
    truth["pr"][0] = np.nan
    truth["pr"][:, :, :3] = np.nan
    rows, _ = rows_of(ensemble, truth, normal)
    joint = rows["upper tenth together with pr"]
    assert (joint["observed"], joint["median"], joint["starts"]) == (1.0, 1.0, 2)


def test_the_variance_of_a_rate_is_squared_as_a_whole():
    ensemble, truth, normal = run(leads=10)
    ensemble["tas"].attrs["units"] = "m s-1"
    rows, _ = rows_of(ensemble, truth, normal)
    assert rows["variance at a cell"]["units"] == "(m s-1)²"
