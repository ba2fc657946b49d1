"""Windows as steps: labels and ends, calendars, seasons, and what lies outside a forecast."""

import cftime
import numpy as np
import pytest
import xarray as xr

from pipeline.answers.trajectories import Record
from pipeline.answers.windows import Timeline, record_timeline, resolve, steps_before
from pipeline.events import QuestionError, parse_window
from tests.asking import months


def timeline(labels, bounds, unit, *, step=1):
    return Timeline(
        xr.DataArray(labels, dims="lead_time"),
        xr.DataArray(bounds, dims=("lead_time", "bnds")),
        unit,
        step,
        "2003-10-01",
    )


def monthly(count=12, *, year=2003, month=10, calendar="noleap"):
    return timeline(*months(year, month, count, calendar=calendar), "months")


def yearly(first=2000, count=100):
    """The Met Office's years: December to November, labelled in June, 360 days."""
    labels = [cftime.Datetime360Day(year, 6, 1) for year in range(first, first + count)]
    bounds = [
        [cftime.Datetime360Day(year - 1, 12, 1), cftime.Datetime360Day(year, 12, 1)]
        for year in range(first, first + count)
    ]
    return timeline(np.array(labels), np.array(bounds), "years")


def daily(start="2003-12-20", count=120):
    labels = np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(1, "D")
    return timeline(labels, np.stack([labels, labels + np.timedelta64(1, "D")], axis=1), "days")


@pytest.mark.parametrize(
    ("text", "leads", "dates"),
    [
        ("lead 2..4", (2, 4), ("2003-11-01", "2004-01-31")),
        ("2004-02", (5, 5), ("2004-02-01", "2004-02-28")),
        ("2003-11..2004-03", (2, 6), ("2003-11-01", "2004-03-31")),
        ("DJF 2004", (3, 5), ("2003-12-01", "2004-02-28")),
        ("MAM", (6, 8), ("2004-03-01", "2004-05-31")),
        ("NDJ 2004", (2, 4), ("2003-11-01", "2004-01-31")),
        ("July 2004", (10, 10), ("2004-07-01", "2004-07-31")),
        ("2003-12-01..2004-02-28", (3, 5), ("2003-12-01", "2004-02-28")),
        ("all", (1, 12), ("2003-10-01", "2004-09-30")),
    ],
)
def test_months(text, leads, dates):
    steps = resolve(parse_window(text), monthly())
    assert (steps.leads, steps.dates, len(steps.groups)) == (leads, dates, 1)


def test_a_leap_year_has_its_day():
    steps = resolve(parse_window("2004-02"), monthly(calendar="standard"))
    assert steps.dates == ("2004-02-01", "2004-02-29")


def test_years_are_chosen_by_label_and_their_ends_are_told():
    steps = resolve(parse_window("2050..2059"), yearly())
    assert (steps.leads, steps.dates) == ((51, 60), ("2049-12-01", "2059-11-30"))
    assert resolve(parse_window("2050"), yearly()).leads == (51, 51)


def test_each_makes_one_group_a_year():
    steps = resolve(parse_window("each DJF 2004..2006"), monthly(40))
    assert steps.groups == ((2, 5), (14, 17), (26, 29))
    assert resolve(parse_window("each year 2050..2059"), yearly()).groups == tuple((n, n + 1) for n in range(50, 60))
    assert resolve(parse_window("each Jul 2004..2005"), monthly(24)).groups == ((9, 10), (21, 22))


def test_days_and_leap_days():
    steps = resolve(parse_window("2004-02"), daily())
    assert steps.dates == ("2004-02-01", "2004-02-29")
    assert steps.span == (43, 72)
    assert resolve(parse_window("2003-12-24..2003-12-26"), daily()).span == (4, 7)
    assert resolve(parse_window("FM 2004"), daily()).dates == ("2004-02-01", "2004-03-31")


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (
            "DJF 2005",
            "beyond_horizon",
            "DJF 2005 needs lead 15-17; this forecast ends at lead 12 (2004-09). "
            "Latest season wholly inside: JAS 2004.",
        ),
        ("2004", "before_init", "2004 was before this forecast began"),
        ("2004-08..2004-11", "beyond_horizon", "needs lead 11-14"),
        ("lead 10..13", "beyond_horizon", "needs lead 10-13"),
        ("2003-05", "before_init", "2003-05 was before this forecast began (2003-10-01)"),
        ("SON 2003", "before_init", "was before this forecast began"),
        ("2004-01-05", "window_too_fine", "2004-01-05 is finer than this store, whose steps are one month long."),
        ("2004-01-01..2004-01-28", "window_too_fine", "2004-01-01..2004-01-28 is finer than this store"),
        ("2004-01-02..2004-02-28", "window_too_fine", "is finer than this store"),
        ("0000", "before_init", "0000 was before this forecast began"),
        ("SON", "beyond_horizon", "No SON lies wholly inside this forecast."),
    ],
)
def test_windows_outside_a_forecast_are_refused(text, code, sentence):
    with pytest.raises(QuestionError) as caught:
        resolve(parse_window(text), monthly() if text != "2004" else monthly(month=3, year=2004, count=10))
    assert caught.value.code == code
    assert sentence in caught.value.text


def test_a_season_is_too_fine_for_years():
    for text in ("JJA 2050", "2050-07", "each JJA 2050..2060"):
        with pytest.raises(QuestionError, match="finer than this store, whose steps are one year long"):
            resolve(parse_window(text), yearly())


def seasons():
    """Winter to autumn of 2004, labelled in their second month."""
    labels, bounds = months(2003, 12, 12)
    return timeline(labels[1::3], np.stack([bounds[::3, 0], bounds[2::3, 1]], axis=1), "months", step=3)


def weekly():
    labels = np.datetime64("2010-10-13", "ns") + 7 * np.arange(8) * np.timedelta64(1, "D")
    ends = np.timedelta64(84, "h")
    return timeline(labels + np.timedelta64(12, "h"), np.stack([labels, labels + 2 * ends], axis=1), "days", step=7)


@pytest.mark.parametrize(
    ("steps", "text", "whole"),
    [
        (seasons(), "2004-01", "2003-12-01..2004-02-28"),
        (seasons(), "JAS 2004", "2004-06-01..2004-08-31"),
        (weekly(), "2010-10-20", "2010-10-20..2010-10-26"),
    ],
)
def test_a_window_that_cuts_its_steps_is_not_answered_for_another(steps, text, whole):
    with pytest.raises(QuestionError, match=f"{text} is no whole number of this store's steps") as refused:
        resolve(parse_window(text), steps)
    assert refused.value.try_ == (whole,)
    assert resolve(parse_window(whole), steps).dates == tuple(whole.split(".."))


@pytest.mark.parametrize(
    ("steps", "text", "leads"),
    [
        (seasons(), "JJA 2004", (3, 3)),
        (seasons(), "2004", (1, 4)),
        (weekly(), "2010-10-19..2010-11-02", (2, 3)),
        (weekly(), "2010-11", (4, 7)),
    ],
)
def test_a_longer_window_may_cut_a_step_at_its_ends(steps, text, leads):
    assert resolve(parse_window(text), steps).leads == leads


def test_a_decade_past_the_end_is_refused():
    with pytest.raises(QuestionError, match=r"2095\.\.2105 needs lead 96-106; this forecast ends at lead 100 \(2099\)"):
        resolve(parse_window("2095..2105"), yearly())


def test_a_date_that_the_calendar_lacks_is_refused():
    with pytest.raises(QuestionError, match=r"The calendar of this store \(360_day\) has no 2050-03-31"):
        steps_before("2050-03-31", yearly(), ended=True)
    with pytest.raises(QuestionError, match="noleap"):
        steps_before("2004-02-29", monthly(), ended=True)


def test_a_date_beyond_the_forecast_is_refused_where_it_would_count():
    assert [steps_before("2004-09", monthly(), ended=ended) for ended in (False, True)] == [11, 12]
    assert steps_before("2004-10", monthly(), ended=False) == 12
    for date, ended in (("2004-10", True), ("2004-11", False), ("2004", True), ("2035", False)):
        with pytest.raises(QuestionError, match=rf"{date} lies beyond .* ends at lead 12 \(2004-09\)"):
            steps_before(date, monthly(), ended=ended)


def test_a_date_within_a_step_is_too_fine_to_compare_with():
    assert [steps_before("2004-01-31", monthly(), ended=True), steps_before("2004-02-01", monthly(), ended=False)] == [
        4,
        4,
    ]
    for date, ended in (("2004-01-20", True), ("2004-01-30", True), ("2004-02-10", False)):
        with pytest.raises(QuestionError, match=rf"{date} is finer than this store, whose steps are one month long"):
            steps_before(date, monthly(), ended=ended)
    assert steps_before("2003-12-25", daily(), ended=True) == 6


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(QuestionError, match="ends before it begins"):
        resolve(parse_window("2004-05..2004-02"), monthly())


def reference(labels, bounds):
    return xr.Dataset(
        {"tas": (("time", "latitude", "longitude"), np.arange(len(labels), dtype=float).reshape(-1, 1, 1))},
        coords={"time": labels, "time_bnds": (("time", "bnds"), bounds), "latitude": [0.0], "longitude": [0.0]},
    )


def test_a_record_of_another_cadence_is_refused():
    labels, bounds = months(1990, 1, 24)
    with pytest.raises(ValueError, match=r"steps of 31\.0 days where the ensemble's are 360\.0"):
        record_timeline(reference(labels, bounds), like=yearly())


def test_replays_lie_in_the_calendar_as_the_forecast_does():
    labels, bounds = months(1990, 1, 60)
    forecast = monthly(14)
    record = Record.of(reference(labels, bounds), like=forecast, catalogue=None)
    pieces = record.replays(forecast, 2, 5)  # December to February
    assert pieces.pieces == 4  # 1990/91 to 1993/94: the winter of 1994/95 is not whole
    december = record.replays(forecast, 2, 3)
    assert december.pieces == 5
    assert record.replays(forecast, 2, 5, years=(1991, 1993)).pieces == 2
    assert list(record.positions(float(forecast.clock[2]))) == [11, 23, 35, 47, 59]


def test_days_of_leap_years_find_their_place():
    labels = np.datetime64("1996-01-01", "ns") + np.arange(366 + 365) * np.timedelta64(1, "D")
    bounds = np.stack([labels, labels + np.timedelta64(1, "D")], axis=1)
    forecast = daily("2003-12-20", 120)
    record = Record.of(reference(labels, bounds), like=forecast, catalogue=None)
    places = record.positions(float(forecast.clock[72]))  # 1 March 2004
    assert [str(labels[place])[:10] for place in places] == ["1996-03-01", "1997-03-01"]
    last_of_february = record.positions(float(forecast.clock[70]))  # 28 February, and 29 February as well: one a year
    assert [str(labels[place])[:10] for place in last_of_february] == ["1996-02-28", "1997-02-28"]
