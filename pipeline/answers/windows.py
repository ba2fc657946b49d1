"""Windows of a question as steps of a forecast.

A step belongs to a window of dates when the archive's label for it does; the ends of the steps are echoed, since a
label does not say them (a Met Office "1860" is December 1859 to November 1860). A window must lie wholly inside the
forecast: half an answer is an error, not a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.events.errors import QuestionError
from pipeline.events.months import months_of, season_name
from pipeline.events.tree import All, Dates, Each, Leads, Season, Window
from pipeline.events.write import window_text

Ints = NDArray[np.int64]

_SECOND = timedelta(seconds=1)
_MONTH_STARTS = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])


@dataclass(frozen=True)
class Timeline:
    """The steps of one axis of time, and what the calendar calls them.

    Attributes:
        labels: The archive's label of each step, dims ``(step,)``, datetime64 or cftime.
        bounds: Both ends of each step, dims ``(step, bnds)``.
        unit: ``hours``, ``days``, ``months`` or ``years``.
        step: How many of these one step is long.
        begins: What the first step follows, as a date; None for a record.
        earlier: When the forecasts before this one began, as dates, oldest first.
    """

    labels: xr.DataArray
    bounds: xr.DataArray
    unit: str
    step: int = 1
    begins: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many steps."""
        return int(self.labels.size)

    @cached_property
    def parts(self) -> Ints:
        """Year, month, day and hour of each label, ``(4, step)``."""
        values = self.labels.values
        if np.issubdtype(values.dtype, np.datetime64):
            dates = self.labels.dt
            return np.array([dates.year, dates.month, dates.day, dates.hour], dtype=np.int64)
        return np.array([(date.year, date.month, date.day, date.hour) for date in values], dtype=np.int64).T

    @cached_property
    def keys(self) -> Ints:
        """Labels as numbers ``yyyymmdd`` that sort like dates."""
        year, month, day, _ = self.parts
        keys: Ints = year * 10_000 + month * 100 + day
        return keys

    @cached_property
    def calendar(self) -> str:
        """The CF name of the calendar."""
        first = self.labels.values[0]
        return "proleptic_gregorian" if isinstance(first, np.datetime64) else str(first.calendar)

    @cached_property
    def year_length(self) -> float:
        """Days of a common year."""
        return 360.0 if self.calendar == "360_day" else 365.0

    @cached_property
    def clock(self) -> NDArray[np.float64]:
        """Days since the year began for each label; 29 February counts as the 28th."""
        _, month, day, hour = self.parts
        if self.calendar == "360_day":
            whole = 30 * (month - 1) + day - 1
        else:
            lengths = np.diff(np.append(_MONTH_STARTS, 365))
            whole = _MONTH_STARTS[month - 1] + np.minimum(day, lengths[month - 1]) - 1
        return np.asarray(whole + hour / 24.0, dtype=np.float64)

    @cached_property
    def step_days(self) -> float:
        """The usual length of a step in days."""
        days = {"hours": 1 / 24, "days": 1.0, "months": self.year_length / 12, "years": self.year_length}
        return days[self.unit] * self.step

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """The true length of each step in seconds."""
        ends = self.bounds.values
        lengths = ends[:, 1] - ends[:, 0]
        if np.issubdtype(lengths.dtype, np.timedelta64):
            return np.asarray(lengths / np.timedelta64(1, "s"), dtype=np.float64)
        return np.array([length.total_seconds() for length in lengths])

    def ends(self, start: int, stop: int) -> tuple[str, str]:
        """The first and the last day of steps ``start`` to ``stop`` (not included) as ISO dates."""
        final = self.bounds.values[stop - 1, 1]
        second = np.timedelta64(1, "s") if np.issubdtype(self.bounds.dtype, np.datetime64) else _SECOND
        return _iso(self.bounds.values[start, 0]), _iso(final - second)

    def name(self, index: int) -> str:
        """One step as people write it: ``2050``, ``2027-07`` or ``2027-07-01``."""
        key = int(self.keys[index])
        year, month, day = key // 10_000, key // 100 % 100, key % 100
        text = f"{year:04d}-{month:02d}-{day:02d}"
        return text[: {"years": 4, "months": 7}.get(self.unit, 10)]


@dataclass(frozen=True)
class Steps:
    """A window on a timeline.

    Attributes:
        groups: Half-open ranges of step indices: one, or one for each year of an ``each`` window.
        leads: The first and last lead, from 1.
        dates: The first and the last day of what the steps cover.
    """

    groups: tuple[tuple[int, int], ...]
    leads: tuple[int, int]
    dates: tuple[str, str]

    @property
    def span(self) -> tuple[int, int]:
        """The half-open range from the first step to the last."""
        return self.groups[0][0], self.groups[-1][1]


def timeline_of(ensemble: xr.Dataset, *, earlier: Iterable[object] = ()) -> Timeline:
    """The timeline of an ensemble with one initial time (dims as in the store, ``init_time`` already selected).

    Args:
        ensemble: One initial time.
        earlier: Initial times before it that the store holds, oldest first.
    """
    attrs = ensemble["lead_time"].attrs
    begins = _iso(ensemble["init_time"].values[()]) if "init_time" in ensemble.coords else None
    return Timeline(
        ensemble["valid_time"].compute(),
        ensemble["valid_time_bnds"].compute(),
        str(attrs.get("units", "years")),
        int(attrs.get("step", 1)),
        begins,
        tuple(_iso(moment) for moment in earlier),
    )


def record_timeline(reference: xr.Dataset, *, like: Timeline) -> Timeline:
    """The timeline of a record that must have the cadence of a forecast.

    Raises:
        ValueError: Steps of another length.
    """
    bounds = reference["time_bnds"].compute()
    record = Timeline(reference["time"], bounds, like.unit, like.step)
    usual = float(np.median(record.seconds)) / 86_400
    if not 0.9 < usual / like.step_days < 1.1:
        raise ValueError(
            f"reference: steps of {usual:.1f} days where the ensemble's are {like.step_days:.1f}; give a reference of "
            "the same cadence"
        )
    return record


def resolve(window: Window, timeline: Timeline) -> Steps:
    """The steps of a window.

    Raises:
        QuestionError: ``beyond_horizon``, ``before_init``, ``window_too_fine`` or ``no_such_date``.
    """
    match window:
        case All():
            groups: tuple[tuple[int, int], ...] = ((0, timeline.size),)
        case Leads():
            if window.last > timeline.size:
                raise _beyond(window_text(window), window.first, window.last, timeline)
            groups = ((window.first - 1, window.last),)
        case Each():
            years = range(window.first, window.last + 1)
            groups = tuple(
                _dated(*_part_of_year(window.part, year), timeline, f"{window.part} {year}") for year in years
            )
        case Season() if window.year is None:
            groups = (_next_season(window.months, timeline),)
        case Season():
            groups = (_dated(*_part_of_year(window.months, window.year or 0), timeline, window_text(window)),)
        case Dates():
            start, end = _ends_of(window.start, timeline)[0], _ends_of(window.end, timeline)[1]
            if end < start:
                raise QuestionError("parse", f"{window_text(window)} ends before it begins.")
            groups = (_dated(start, end, timeline, window_text(window)),)
    first, last = groups[0][0], groups[-1][1]
    return Steps(groups, (first + 1, last), timeline.ends(first, last))


def steps_before(text: str, timeline: Timeline, *, ended: bool) -> int:
    """How many steps are labelled before a date begins or, where ``ended``, before it has ended.

    Raises:
        QuestionError: ``beyond_horizon``, where further steps would be that the forecast does not reach;
            ``before_init``, for a date that had passed before its first step; ``window_too_fine``, for a date within
            a step; or ``no_such_date``.
    """
    start, end = _ends_of(text, timeline)
    if not (_ends_step(end, timeline) if ended else _begins_step(start, timeline)):
        raise _too_fine(text, timeline)
    last = end if ended else start - 1
    if _shifted(timeline, timeline.size - 1, 1) <= last:
        final = timeline.name(timeline.size - 1)
        raise QuestionError(
            "beyond_horizon",
            f"{text} lies beyond this forecast, which ends at lead {timeline.size} ({final}): what happens in between "
            "is not known.",
            where=text,
            try_=(final,),
        )
    if end < timeline.keys[0]:
        raise _before(text, start, timeline)
    return int(np.searchsorted(timeline.keys, last, side="right"))


def _dated(start: int, end: int, timeline: Timeline, name: str) -> tuple[int, int]:
    """The steps labelled from ``start`` to ``end``, both ``yyyymmdd``, which must all be in the forecast."""
    chosen = np.flatnonzero((timeline.keys >= start) & (timeline.keys <= end))
    _check_cadence(start, end, timeline, name)
    if _shifted(timeline, timeline.size - 1, 1) <= end:
        first = _steps_between(timeline, start) if start > timeline.keys[0] else 1
        raise _beyond(name, first, _steps_between(timeline, end), timeline)
    if _shifted(timeline, 0, -1) >= start:
        raise _before(name, start, timeline)
    if chosen.size == 0:
        raise QuestionError("window_too_fine", f"No step of this forecast is labelled within {name}.", where=name)
    found = int(chosen[0]), int(chosen[-1]) + 1
    _check_whole(found, start, end, timeline, name)
    return found


def _check_cadence(start: int, end: int, timeline: Timeline, name: str) -> None:
    """A window must be made of whole steps: a month of a yearly store is not there to be read."""
    if not (_begins_step(start, timeline) and _ends_step(end, timeline)):
        raise _too_fine(name, timeline)


def _check_whole(found: tuple[int, int], start: int, end: int, timeline: Timeline, name: str) -> None:
    """What the steps of a window cover must be what was asked for, but for less than half of it.

    Steps of a season hold no January, and none that is labelled in July is that of July to September. The ends of a
    longer window may cut a step, as those of a year do where winters begin in December; an answer echoes its own ends.
    """
    if timeline.step_days <= 1:
        return
    covered = timeline.ends(*found)
    first, last = (_about_days(int(text.replace("-", ""))) for text in covered)
    begin, stop = _about_days(start), _about_days(end)
    if abs(first - begin) + abs(last - stop) >= (stop - begin + 1) / 2:
        whole = f"{covered[0]}..{covered[1]}"
        text = f"{name} is no whole number of this store's steps; what is labelled within it is {whole}."
        raise QuestionError("window_too_fine", text, where=name, try_=(whole,))


def _about_days(key: int) -> float:
    """A day, ``yyyymmdd``, as a number of days of a common year; the 31st stands for the last of any month."""
    return (key // 10_000 * 12 + key // 100 % 100 - 1) * 365 / 12 + min(key % 100, 365 / 12)


def _begins_step(key: int, timeline: Timeline) -> bool:
    """Whether no year, or month, of a store of such steps is cut where this day begins."""
    match timeline.unit:
        case "years":
            return key % 10_000 <= 101
        case "months":
            return key % 100 <= 1
        case _:
            return True


def _ends_step(key: int, timeline: Timeline) -> bool:
    """Whether no year, or month, of a store of such steps is cut where this day ends."""
    year, month, day = key // 10_000, key // 100 % 100, key % 100
    first = cftime.datetime(max(year, 1), month, 1, calendar=timeline.calendar)  # some calendars lack a year 0
    is_last_day = bool(day >= first.daysinmonth)
    match timeline.unit:
        case "years":
            return is_last_day and month == 12
        case "months":
            return is_last_day
        case _:
            return True


def _too_fine(name: str, timeline: Timeline) -> QuestionError:
    length = f"{timeline.step} {timeline.unit}" if timeline.step > 1 else f"one {timeline.unit[:-1]}"
    text = f"{name} is finer than this store, whose steps are {length} long."
    return QuestionError("window_too_fine", text, where=name)


def _shifted(timeline: Timeline, index: int, direction: int) -> int:
    """The label, as ``yyyymmdd``, that a step before the first or after the last would have."""
    key = int(timeline.keys[index])
    year, month, day = key // 10_000, key // 100 % 100, key % 100
    if timeline.unit == "years":
        return key + direction * timeline.step * 10_000
    if timeline.unit == "months":
        months = year * 12 + month - 1 + direction * timeline.step
        return months // 12 * 10_000 + (months % 12 + 1) * 100 + min(day, 28)
    step = round(timeline.step_days * 86_400)
    value = timeline.labels.values[index]
    if isinstance(value, np.datetime64):
        text = _iso(value + direction * np.timedelta64(step, "s"))
    else:
        text = _iso(value + direction * step * _SECOND)
    return int(text.replace("-", ""))


def _steps_between(timeline: Timeline, key: int) -> int:
    """About which lead a date has, past the end of the forecast."""
    last = int(timeline.keys[-1])
    years, months = key // 10_000 - last // 10_000, key // 100 % 100 - last // 100 % 100
    match timeline.unit:
        case "years":
            ahead = years // timeline.step
        case "months":
            ahead = (12 * years + months) // timeline.step
        case _:
            days = (years + months / 12) * timeline.year_length + key % 100 - last % 100
            ahead = round(days / timeline.step_days)
    return max(1, timeline.size + ahead)


def _beyond(name: str, first: int, last: int, timeline: Timeline) -> QuestionError:
    needs = f"lead {first}" if first >= last else f"lead {first}-{last}"
    end = timeline.name(timeline.size - 1)
    latest = f" Latest season wholly inside: {_latest_season(timeline)}." if timeline.unit == "months" else ""
    return QuestionError(
        "beyond_horizon",
        f"{name} needs {needs}; this forecast ends at lead {timeline.size} ({end}).{latest}",
        where=name,
        try_=(f"lead 1..{timeline.size}",),
    )


def _before(name: str, start: int, timeline: Timeline) -> QuestionError:
    """The refusal of a window that has passed, with the forecast that still had it before it."""
    before = [moment for moment in timeline.earlier if int(moment.replace("-", "")) <= start]
    other = f"forecast fc-{before[-1]}" if before else "an earlier forecast"
    return QuestionError(
        "before_init",
        f"{name} was before this forecast began ({timeline.begins or timeline.name(0)}); its first step is "
        f"{timeline.name(0)}. Use the analysis, or {other}.",
        where=name,
        try_=(other,) if before else (),
    )


def _latest_season(timeline: Timeline) -> str:
    key = int(timeline.keys[-1])
    count = min(3, timeline.size)
    first = (key // 100 % 100 - count) % 12 + 1
    return f"{season_name(first, count)} {key // 10_000}"


def _part_of_year(part: str, year: int) -> tuple[int, int]:
    """The first and last day, ``yyyymmdd``, of a year or of the season that ends in it."""
    if part == "year":
        return year * 10_000 + 101, year * 10_000 + 1_231
    first, count = months_of(part)
    last = (first + count - 2) % 12 + 1
    begins = year if first + count - 1 <= 12 else year - 1
    return begins * 10_000 + first * 100 + 1, year * 10_000 + last * 100 + 31


def _next_season(months: str, timeline: Timeline) -> tuple[int, int]:
    """The first season of this name that lies wholly inside the forecast."""
    years = range(int(timeline.keys[0]) // 10_000, int(timeline.keys[-1]) // 10_000 + 1)
    for year in years:
        start, end = _part_of_year(months, year)
        _check_cadence(start, end, timeline, months)
        if _shifted(timeline, 0, -1) < start and _shifted(timeline, timeline.size - 1, 1) > end:
            return _dated(start, end, timeline, f"{months} {year}")
    raise QuestionError("beyond_horizon", f"No {months} lies wholly inside this forecast.", where=months)


def _ends_of(text: str, timeline: Timeline) -> tuple[int, int]:
    """The first and last day, ``yyyymmdd``, of a year, month or day of the calendar."""
    numbers = [int(part) for part in text.split("-")]
    if len(numbers) == 1:
        return numbers[0] * 10_000 + 101, numbers[0] * 10_000 + 1_231
    year, month = numbers[:2]
    if len(numbers) == 2:
        return year * 10_000 + month * 100 + 1, year * 10_000 + month * 100 + 31
    try:
        cftime.datetime(year, month, numbers[2], calendar=timeline.calendar)
    except ValueError:
        raise QuestionError(
            "no_such_date", f"The calendar of this store ({timeline.calendar}) has no {text}.", where=text
        ) from None
    key = year * 10_000 + month * 100 + numbers[2]
    return key, key


def _iso(moment: object) -> str:
    """A datetime64 or cftime moment as an ISO date."""
    if isinstance(moment, np.datetime64):
        return str(moment.astype("datetime64[D]"))
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"  # type: ignore[attr-defined]
