"""Maps and series of calibrated members: at each place the interval of the question asked there, fit included."""

import numpy as np
import pytest
import xarray as xr

from pipeline.answers.contrast_field import CONTRAST
from pipeline.answers.intervals import proportion_interval, trials_with_fit
from pipeline.answers.issued import ask, open_issued
from pipeline.direct import LastRead
from tests.issued_system import LATITUDE, LONGITUDE, build, calibrate

EVENT = "sst.anom{}.mean(time=lead 1..2) > -0.7 K"
PLACES = [(-4, 188), (0, 204), (4, 212)]


@pytest.fixture(scope="module")
def wobbling(tmp_path_factory):
    """Each fold's calibration shifts all members by another amount."""
    workspace = build(tmp_path_factory.mktemp("wobbling") / "w", hindcast_months=())
    calibrate(workspace, wobble=0.2)
    return workspace


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    workspace = build(tmp_path_factory.mktemp("scenarios") / "w", hindcast_months=(), scenarios=["high", "low"])
    calibrate(workspace, wobble=0.2)
    return workspace


def ends(chances):
    return [float(chances[name]) for name in ("probability", "low", "high")]


def test_a_cell_has_the_interval_of_the_question_at_its_place(wobbling):
    found = ask(wobbling, f"map of {EVENT.format('')}")
    assert found.to_json()["field"]["interval"] == {"level": 0.9, "covers": "members and calibration fit"}
    for latitude, longitude in PLACES:
        over = EVENT.format(f".mean(over=point({latitude}, {longitude}))")
        single = ask(wobbling, f"prob {over}").to_json()
        expected = [single["probability"]["calibrated"], single["interval"]["low"], single["interval"]["high"]]
        cell = found.members.sel(latitude=latitude, longitude=longitude)
        assert ends(cell) == pytest.approx(expected, abs=1e-12)


def test_a_cell_is_what_plain_loops_over_folds_and_members_give(wobbling):
    field = ask(wobbling, "map of sst.mean(time=lead 1) > 300 K").members
    issued = open_issued(wobbling)
    raw = issued.raw["sst"].isel(init_time=0, lead_time=0).transpose("member", ...).values.astype(float)
    for place in np.ndindex(LATITUDE.size, LONGITUDE.size):
        own = np.mean([member > 300 for member in raw[:, *place]])
        shares = [np.mean([member + 0.2 * (fold - 2) > 300 for member in raw[:, *place]]) for fold in range(5)]
        fit = 4 / 5 * sum((share - np.mean(shares)) ** 2 for share in shares)
        likely = (20 * own + 0.5) / 21
        trials = likely * (1 - likely) / (likely * (1 - likely) / 20 + fit)
        assert ends(field.isel(latitude=place[0], longitude=place[1])) == pytest.approx(
            proportion_interval(float(own), trials), abs=1e-9
        )


def test_the_fit_widens_the_intervals_of_maps_and_series(wobbling):
    unsure = {kind: ask(wobbling, f"{kind} of {_event(kind)}").members for kind in ("map", "series")}
    issued = open_issued(wobbling)
    for kind, wide in unsure.items():
        drawn = _without_refits(issued, f"{kind} of {_event(kind)}").members
        xr.testing.assert_allclose(wide["probability"], drawn["probability"])
        assert (wide["high"] - wide["low"] > drawn["high"] - drawn["low"]).all()


def _event(kind):
    return EVENT.format("") if kind == "map" else "sst.anom.mean(over=middle) > -0.7 K"


def _without_refits(issued, text):
    from pipeline.answers.answer import answer

    return answer(text, **issued.setting)


def test_a_step_of_a_series_has_the_interval_of_the_question_at_its_time(wobbling):
    series = ask(wobbling, "series of sst.anom.mean(over=middle) > -0.7 K").members
    for lead in (1, 4):
        single = ask(wobbling, f"prob sst.anom.mean(over=middle).mean(time=lead {lead}) > -0.7 K").to_json()
        expected = [single["probability"]["calibrated"], single["interval"]["low"], single["interval"]["high"]]
        assert ends(series.sel(lead_time=lead)) == pytest.approx(expected, abs=1e-12)


def test_the_difference_of_two_scenarios_covers_the_fit_at_each_cell(scenarios):
    field = ask(scenarios, f"map of {EVENT.format('')} scenario high vs low").members
    for latitude, longitude in PLACES:
        over = EVENT.format(f".mean(over=point({latitude}, {longitude}))")
        gap = ask(scenarios, f"prob {over} scenario high vs low").to_json()["difference"]
        cell = field.sel(latitude=latitude, longitude=longitude)
        expected = [gap[part] for part in ("value", "low", "high")]
        assert [float(cell[name]) for name in CONTRAST[:3]] == pytest.approx(expected, abs=1e-12)


def test_a_map_in_bands_and_without_a_memory_is_the_same(wobbling, monkeypatch):
    text = "map of sst.anom.mean(time=lead 1) > 0 K and sst.anom.mean(time=lead 3) > -0.7 K"
    whole = ask(wobbling, text).members
    monkeypatch.setattr("pipeline.answers.fields.BAND_VALUES", 1)
    monkeypatch.setattr(LastRead, "MOST", 0)
    xr.testing.assert_identical(ask(wobbling, text).members, whole)


def test_members_are_read_once_for_all_folds(wobbling, monkeypatch):
    reads = []
    read = LastRead._read
    monkeypatch.setattr(LastRead, "_read", lambda self, wanted: reads.append(wanted) or read(self, wanted))
    ask(wobbling, "map of sst.mean(time=lead 2) > 300 K and sst.mean(time=lead 5..6) < 303 K")
    assert len(reads) == 2


def test_places_without_trials_stay_without():
    shares = np.array([[0.2, np.nan], [0.4, np.nan]])
    found = trials_with_fit(np.array([0.3, np.nan]), np.array([20.0, 0.0]), shares)
    assert 0 < found[0] < 20
    assert found[1] == 0


def test_members_of_a_run_that_still_goes_on_are_calibrated_about_their_own_mean(tmp_path):
    workspace = build(tmp_path / "w", hindcast_months=(), block=2, stored=18)
    calibrate(workspace, tau=0.5)
    found = ask(workspace, "dist of sst.anom.mean(over=point(0, 204)).mean(time=lead 1)")
    assert [warning["code"] for warning in found.to_json()["warnings"]] == ["members_incomplete"]
    issued = open_issued(workspace)
    raw = issued.raw["sst"].isel(init_time=0, lead_time=0).sel(latitude=0, longitude=204).values[:18].astype(float)
    expected = raw.mean() + 0.5 * (raw - raw.mean())
    calibrated = issued.ensemble["sst"].isel(init_time=0, lead_time=0, member=np.arange(18))
    assert calibrated.sel(latitude=0, longitude=204).values == pytest.approx(expected, abs=1e-4)
    spread = found.members["value"].values
    assert spread - spread.mean() == pytest.approx(0.5 * (raw - raw.mean()), abs=1e-4)
