from datetime import timedelta

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputRefusedError
from pipeline.periods import (
    Cadence,
    Periods,
    daily_cycle,
    dates,
    from_dates,
    infer_cadence,
    season_phase,
    seconds,
    with_bounds,
)
from tests.conftest import monthly_record


def axis(labels):
    return xr.DataArray(labels, dims="time", coords={"time": labels})["time"]


def labels(count, step, calendar="360_day"):
    start = cftime.datetime(1990, 1, 1, calendar=calendar)
    return [Cadence(*step).advance(start, n) for n in range(count)]


@pytest.mark.parametrize("step", [("hours", 6), ("days", 1), ("days", 5), ("months", 1), ("months", 3), ("years", 1)])
@pytest.mark.parametrize("calendar", ["360_day", "noleap", "standard"])
def test_cadence_is_found_in_any_calendar(step, calendar):
    time = axis(from_dates(np.array(labels(40, step, calendar))))
    assert infer_cadence(time) == Cadence(*step)


def test_a_time_that_jumps_back_is_refused_with_its_place():
    values = labels(10, ("days", 1))
    values[6] = values[2]
    with pytest.raises(InputRefusedError, match=r"step 6 .*does not come after"):
        infer_cadence(axis(values))


def test_one_step_has_no_cadence():
    with pytest.raises(InputRefusedError, match="at least two"):
        infer_cadence(axis(labels(1, ("days", 1))))


@given(st.integers(-600, 600), st.integers(0, 40), st.sampled_from(["360_day", "noleap", "standard", "all_leap"]))
def test_advancing_there_and_back_and_counting(count, offset, calendar):
    for unit in ("months", "years", "days"):
        cadence = Cadence(unit)
        start = cadence.advance(cftime.datetime(1950, 1, 1, calendar=calendar), offset)
        there = cadence.advance(start, count)
        assert cadence.between(start, there) == count
        assert cadence.advance(there, -count) == start


def test_a_month_later_keeps_within_the_month():
    assert Cadence("months").advance(cftime.datetime(2001, 1, 31, calendar="standard"), 1).day == 28


def test_seconds_since_1850_by_hand():
    time = xr.DataArray(np.array(["1850-01-02", "1849-12-31"], dtype="datetime64[ns]"), dims="time")
    np.testing.assert_array_equal(seconds(time), [86_400, -86_400])
    model = xr.DataArray(np.array([cftime.datetime(1851, 1, 1, calendar="360_day")]), dims="time")
    np.testing.assert_array_equal(seconds(model), [360 * 86_400])


def test_dates_and_back():
    time = xr.DataArray(np.array(["1979-02-28T12:00", "2000-02-29"], dtype="datetime64[ns]"), dims="time")
    np.testing.assert_array_equal(from_dates(dates(time)), time.values)


def test_bounds_inferred_from_mid_month_labels():
    middle = monthly_record().isel(time=slice(3))
    shifted = middle.assign_coords(time=middle["time"] + np.timedelta64(15, "D"))
    bounds = with_bounds(shifted)["time_bnds"].values
    assert str(bounds[0, 0])[:10] == "1990-01-01"
    assert str(bounds[0, 1])[:10] == str(bounds[1, 0])[:10] == "1990-02-01"


def test_future_periods_keep_known_labels_and_go_on_in_their_manner():
    record = with_bounds(monthly_record(years=1))
    init = dates(record["time_bnds"])[9, 1]
    ahead, ends = Periods.of(record).ahead(init, 4)
    assert [str(label)[:7] for label in ahead] == ["1990-11", "1990-12", "1991-01", "1991-02"]
    assert ends[0, 0] == init
    assert (ends[1:, 0] == ends[:-1, 1]).all()


def test_annual_periods_that_start_in_december():
    """The demo's periods: December to December, labelled in June."""
    starts = [cftime.datetime(1859 + n, 12, 1, calendar="360_day") for n in range(5)]
    data = xr.Dataset(
        {"time_bnds": (("time", "bnds"), [[a, a.replace(year=a.year + 1)] for a in starts])},
        coords={"time": [a.replace(year=a.year + 1, month=6) for a in starts]},
    )
    ahead, ends = Periods.of(data).ahead(dates(data["time_bnds"])[-1, 1], 2)
    assert [str(label)[:10] for label in ahead] == ["1865-06-01", "1866-06-01"]
    assert [str(end)[:10] for end in ends[0]] == ["1864-12-01", "1865-12-01"]


def test_season_phase_of_january_and_july():
    bounds = with_bounds(monthly_record(years=1))["time_bnds"]
    phase = season_phase(bounds)
    assert phase[0] == pytest.approx(15.5 / 365)
    assert phase[6] == pytest.approx((181 + 15.5) / 365)


@pytest.mark.parametrize(("hours", "terms"), [(1, 4), (3, 4), (6, 3), (12, 1), (24, 0), (240, 0)])
def test_the_hour_has_as_many_waves_as_a_days_steps_tell(hours, terms):
    starts = cftime.DatetimeNoLeap(2001, 1, 1) + np.arange(41) * timedelta(hours=hours)
    cycle = daily_cycle(np.stack([starts[:-1], starts[1:]], axis=1))
    assert cycle.shape == (40, terms)
    a_day = max(1, 24 // hours)
    np.testing.assert_allclose(cycle[a_day:], cycle[:-a_day], atol=1e-9)
    np.testing.assert_array_equal(daily_cycle(np.stack([starts[:1], starts[1:2]], axis=1)), cycle[:1])
