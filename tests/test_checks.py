"""Each gate has data that trips it and data that does not; what it says names the source, the place and the remedy."""

import cftime
import numpy as np
import pytest
import xarray as xr

from pipeline.archive import ingest
from pipeline.errors import InputRefusedError
from pipeline.intake.checks import GATES, Checks, GateConfig, check_settings
from pipeline.names import VARIABLES, canonical
from pipeline.workspace import Workspace
from tests.conftest import monthly_record

SST = {"sst": VARIABLES["sst"]}


def sound(raw=None, **settings):
    raw = monthly_record(**settings) if raw is None else raw
    return canonical(raw, variables=SST, spelling={}).load()


@pytest.fixture
def archive(tmp_path):
    """Puts data through the gates into an archive of its own, and gives the warnings."""

    def put(data, variables=SST, **settings):
        checks = Checks(variables, {name: GateConfig(**value) for name, value in settings.items()}, source="obs")
        ingest(Workspace(tmp_path / "ws"), data, group="obs", checks=checks)
        return {finding.gate for finding in checks.warnings}

    return put


def test_sound_data_passes_every_gate(archive):
    assert archive(sound()) == set()


def refuses(archive, data, match, **settings):
    with pytest.raises(InputRefusedError, match=match):
        archive(data, **settings)


def changed(at, value):
    data = sound()
    data["sst"][at] = value
    return data


def labelled(labels):
    return sound().isel(time=slice(len(labels))).drop_vars("time_bnds", errors="ignore").assign_coords(time=labels)


def test_an_unknown_calendar_or_no_dates_block(archive):
    julian = [cftime.datetime(1990, month, 1, calendar="julian") for month in range(1, 13)]
    refuses(archive, labelled(julian), r"\[standard_calendar\] obs: time: calendar 'julian'")
    refuses(archive, labelled(np.arange(12.0)), r"\[standard_calendar\] obs: time: float64 numbers are no dates")


def test_labels_that_repeat_or_run_back_block(archive):
    refuses(archive, sound().isel(time=[0, 1, 1, 2]), r"\[time_increases\].*does not come after")
    refuses(archive, sound().isel(time=[3, 2, 1]), r"\[time_increases\]")


def test_a_gap_blocks_and_is_named_unless_it_is_tolerated(archive):
    data = sound().isel(time=[0, 1, 2, 4, 5])
    refuses(archive, data, r"\[no_gaps\] obs: time: 1 gap.*1990-03.*1990-05.*split the record")
    assert archive(data, no_gaps={"severity": "warn"}) == {"no_gaps"}


def test_a_limit_lets_through_what_it_allows(archive):
    assert archive(sound().isel(time=[0, 1, 2, 4, 5]), no_gaps={"limit": 1}) == set()


def test_a_period_of_another_length_blocks(archive):
    labels = np.datetime64("2000-01-01", "s") + np.arange(12) * np.timedelta64(86400, "s")
    ends = np.stack([labels, labels + np.timedelta64(86400, "s")], 1)
    data = labelled(labels).assign(time_bnds=(("time", "bnds"), ends))
    assert archive(data) == set()
    ends[7, 1] += np.timedelta64(3600, "s")
    refuses(archive, data.assign(time_bnds=(("time", "bnds"), ends)), r"\[constant_cadence\].*2000-01-08.*25|1\.04")


@pytest.mark.parametrize(("axis", "values"), [("latitude", [-100, -5, 0, 5, 10]), ("latitude", [-10, -5, -5, 5, 10])])
def test_axes_off_the_globe_or_with_repeats_block(archive, axis, values):
    refuses(archive, sound().assign_coords({axis: (axis, np.array(values, float))}), rf"\[regular_axes\] obs: {axis}")


def test_another_grid_than_the_archives_blocks(archive):
    archive(sound())
    refuses(archive, sound().isel(latitude=slice(3)), r"\[same_grid\] obs: latitude: the archive has 5 values")
    shifted = sound().assign_coords(latitude=sound()["latitude"] + 1e-6)
    assert archive(shifted) == set()  # rounding is no other grid


def test_another_calendar_than_the_archives_blocks(archive):
    archive(sound())
    refuses(archive, sound(calendar="360_day"), r"\[same_calendar\].*keeps the .*gregorian calendar.*360_day")


def test_labels_at_another_place_in_their_period_block(archive):
    archive(sound().isel(time=slice(100)))
    assert archive(sound()) == set()
    middle = sound(years=13).isel(time=slice(144, None))
    middle = middle.assign_coords(time=middle["time"] + np.timedelta64(14, "D"))
    refuses(archive, middle, r"\[same_cadence\].*labels lie 4\d % into their periods.*archive has them at 0 %")


def test_daily_data_does_not_follow_on_monthly(archive):
    archive(sound())
    days = xr.date_range("2002-01-01", periods=20, unit="s")
    data = sound().isel(time=slice(20)).assign_coords(time=days)
    refuses(archive, data, r"\[same_cadence\].*periods of 1 days, where the archive has 3\d")


def test_a_sum_is_no_flux_and_an_instant_no_mean(archive, tmp_path):
    raw = monthly_record().rename(sst="pr")
    raw["pr"] = (raw["pr"] * 0 + 1e-5).assign_attrs(units="kg m-2 s-1", cell_methods="time: sum")
    flux = {"pr": VARIABLES["pr"]}
    data = canonical(raw, variables=flux, spelling={}).load()
    with pytest.raises(InputRefusedError, match=r"\[accumulation\] obs: variable 'pr': 'time: sum' of a flux"):
        archive(data, variables=flux)
    archive(sound())
    instant = sound()
    instant["sst"].attrs["cell_methods"] = "time: point"
    refuses(archive, instant, r"\[accumulation\].*'time: point', where the archive has 'time: mean'")


def test_an_empty_field_blocks(archive):
    refuses(archive, changed(3, np.nan), r"\[no_empty_fields\] obs: variable 'sst': 1 step.*1990-04")


def test_impossible_values_block(archive):
    refuses(archive, changed((5, 2, 2), 15.0), r"\[possible_values\].*15 to .* K lie outside 265 to 320, .*1990-06")


@pytest.mark.parametrize("value", [9.96921e36, -999.0, 1e20])
def test_a_fill_value_that_was_not_declared_is_called_so(archive, value):
    refuses(archive, changed((5, 2, 2), value), r"\[undeclared_fill\].*1990-06-01 looks like an undeclared fill value")


def test_one_strange_value_in_many_cells_is_a_fill_value_too(archive):
    refuses(archive, changed((5, 2, slice(1, 4)), 4321.0), r"\[undeclared_fill\].*4321 K in 3 cell")


def test_an_undeclared_fill_value_that_is_possible_is_seen_too(archive):
    raw = monthly_record().rename(sst="uas")
    raw["uas"] = (raw["uas"] - 288).assign_attrs(units="m s-1", cell_methods="time: mean")
    wind = {"uas": VARIABLES["uas"]}
    data = canonical(raw, variables=wind, spelling={}).load()
    data["uas"][2, 2, 2] = -99.9
    with pytest.raises(InputRefusedError, match=r"\[undeclared_fill\].*-99\.9 m s-1 in 1 cell"):
        archive(data, variables=wind)


def test_more_missing_than_before_blocks(archive):
    archive(sound().isel(time=slice(0, 100)))
    half = sound()
    half["sst"][120, :3] = np.nan
    refuses(archive, half, r"\[missing_share\].*6\d\.\d % .*2000-01.*where the archive misses 2\.9 %")
    assert "missing_share" not in archive(half, missing_share={"limit": 0.9})


def test_holes_and_stuck_fields_warn(archive):
    data = changed((5, 2, 2), np.nan)
    data["sst"][8] = data["sst"][7]
    assert archive(data) == {"lasting_mask", "fields_change"}
    checks = Checks(SST)
    checks.look(data)
    checks.finish(None)
    assert any("the first at 1990-09-01. See whether" in str(finding) for finding in checks.findings)


def test_a_stuck_run_among_others_is_seen(archive):
    data = sound(realizations=2)
    data["sst"][1, 8] = data["sst"][1, 7]
    assert archive(data) == {"fields_change"}


def test_a_gate_can_be_closed_or_opened(archive):
    refuses(archive, changed((5, 2, 2), np.nan), r"\[lasting_mask\]", lasting_mask={"severity": "block"})
    assert archive(changed((5, 2, 2), np.nan), lasting_mask={"severity": "off"}) == set()


def test_a_gate_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"no gate 'no_gap'. Did you mean 'no_gaps'"):
        check_settings({"no_gap": GateConfig()})


def test_the_report_has_a_line_for_each_gate():
    checks = Checks(SST, {"no_gaps": GateConfig(limit=2)})
    lines = {line["gate"]: line for line in checks.report()}
    assert list(lines) == list(GATES)
    assert lines["no_gaps"] | {"must_hold": "", "found": []} == {
        "gate": "no_gaps", "severity": "block", "limit": 2.0, "must_hold": "", "found": [],
    }  # fmt: skip
