"""Periods of a record: their cadence, their ends, and the period that lies *n* steps ahead.

A month is no fixed number of days, so everything counts in whole periods of the archive's own calendar. Dates are
``cftime`` inside this module and whatever xarray decodes outside of it. Stored time is int64 seconds since 1850-01-01.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal, Self

import cftime
import numpy as np
import xarray as xr

from pipeline.errors import InputRefusedError

EPOCH = "seconds since 1850-01-01"
Unit = Literal["hours", "days", "months", "years"]
ENCODING = {"units": EPOCH, "dtype": "int64"}


@dataclass(frozen=True)
class Cadence:
    """The length of one period: ``step`` hours, days, months or years."""

    unit: Unit
    step: int = 1

    def advance(self, date: cftime.datetime, count: int) -> cftime.datetime:
        """The date ``count`` periods later (earlier where negative)."""
        if self.unit in ("hours", "days"):
            return date + count * self.step * timedelta(**{self.unit: 1})
        months = count * self.step * (12 if self.unit == "years" else 1)
        year, month = divmod(date.year * 12 + date.month - 1 + months, 12)
        return date.replace(
            year=year, month=month + 1, day=min(date.day, _days_in_month(year, month + 1, date.calendar))
        )

    def between(self, first: cftime.datetime, last: cftime.datetime) -> int:
        """How many whole periods lie from ``first`` to ``last``, by nearest count."""
        if self.unit in ("hours", "days"):
            return round((last - first) / (self.step * timedelta(**{self.unit: 1})))
        months = (last.year - first.year) * 12 + last.month - first.month
        return round(months / (self.step * (12 if self.unit == "years" else 1)))

    @property
    def is_subannual(self) -> bool:
        """Whether several periods make a year, so that a season exists."""
        return self.unit != "years"

    @property
    def is_within_a_day(self) -> bool:
        """Whether several periods make a day, so that an hour exists."""
        return self.unit == "hours" and self.step < 24

    @property
    def per_year(self) -> float:
        """How many periods make a year, about."""
        return {"years": 1, "months": 12, "days": 365, "hours": 8766}[self.unit] / self.step

    def __str__(self) -> str:
        return self.unit if self.step == 1 else f"{self.step} {self.unit}"


def lead_words(leads: xr.DataArray) -> str:
    """What leads count: ``months``, or ``steps of 7 days`` where a period is several of its unit; empty if not said."""
    units, step = str(leads.attrs.get("units", "")), int(leads.attrs.get("step", 1))
    return units if step == 1 else f"steps of {step} {units}"


def dates(time: xr.DataArray) -> np.ndarray:
    """Time as ``cftime`` dates of its calendar, same shape."""
    if isinstance(time.values.flat[0], cftime.datetime):
        return time.values
    flat = cftime.num2date(seconds(time).ravel(), EPOCH, "proleptic_gregorian")
    return np.asarray(flat).reshape(time.shape)


def seconds(time: xr.DataArray) -> np.ndarray:
    """Time as int64 seconds since 1850-01-01 in its own calendar, same shape."""
    values = time.values
    if isinstance(values.flat[0], cftime.datetime):
        return np.asarray(cftime.date2num(values, EPOCH, values.flat[0].calendar), dtype="int64").reshape(values.shape)
    return (values - np.datetime64("1850-01-01", "s")).astype("timedelta64[s]").astype("int64")


def from_dates(values: np.ndarray) -> np.ndarray:
    """``cftime`` dates as xarray would decode them: datetime64 where the calendar is the usual one."""
    if values.flat[0].calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        return values
    text = [np.datetime64(date.isoformat(), "ns") for date in values.ravel()]
    return np.asarray(text).reshape(values.shape)


def infer_cadence(time: xr.DataArray) -> Cadence:
    """The cadence of a time axis from the distances between its labels.

    Raises:
        InputRefusedError: Fewer than two steps, a time that does not increase, or distances of no known cadence.
    """
    if time.size < 2:
        raise InputRefusedError("time: one step alone has no cadence; give at least two.")
    steps = np.diff(seconds(time))
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0)) + 1
        raise InputRefusedError(
            f"time: step {at} ({time.values[at]}) does not come after the one before it ({time.values[at - 1]}). "
            "Sort the files and remove repeated steps."
        )
    typical = float(np.median(steps))
    days = typical / 86_400
    if 27 <= days <= 32:
        return Cadence("months")
    if 85 <= days <= 95:
        return Cadence("months", 3)
    if 350 <= days <= 370:
        return Cadence("years")
    if days > 370:
        return Cadence("years", round(days / 365.25))
    if typical % 86_400 == 0:
        return Cadence("days", int(days))
    if typical % 3_600 == 0:
        return Cadence("hours", int(typical // 3_600))
    raise InputRefusedError(f"time: steps of {typical:.0f} s are no whole number of hours, days, months or years.")


def with_bounds(dataset: xr.Dataset) -> xr.Dataset:
    """The data set with ``time_bnds``, the ends of each period, inferred from the labels where it has none.

    Without bounds a label names the calendar year or month that holds it, the day that holds it, or the start of a
    span of hours.
    """
    if "time_bnds" in dataset:
        bounds = dataset["time_bnds"].load()
        return dataset.assign(time_bnds=(("time", "bnds"), from_dates(dates(bounds))))
    cadence = infer_cadence(dataset["time"])
    starts = [_floor(date, cadence) for date in dates(dataset["time"])]
    both = np.array([[start, cadence.advance(start, 1)] for start in starts])
    return dataset.assign(time_bnds=(("time", "bnds"), from_dates(both)))


def has_bounds(dataset: xr.Dataset, name: str = "time_bnds") -> bool:
    """Whether a variable holds ends of periods: some files carry one and leave it empty.

    It does if any label lies within its own.
    """
    if dataset[name].dtype.kind not in "MO" or dataset[name].isnull().any():
        return False
    ends, labels = seconds(dataset[name]), seconds(dataset["time"])
    return bool(((ends[:, 0] <= labels) & (labels <= ends[:, 1]) & (ends[:, 0] < ends[:, 1])).any())


@dataclass(frozen=True)
class Periods:
    """The periods of a record as dates, which take long to make and are asked for again and again.

    Attributes:
        labels: ``cftime``, ``(time,)``.
        ends: ``cftime``, ``(time, 2)``.
        cadence: Their length.
    """

    labels: np.ndarray
    ends: np.ndarray
    cadence: Cadence

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Self:
        """Those of an archive group with ``time`` and ``time_bnds``."""
        return cls(dates(dataset["time"]), dates(dataset["time_bnds"]), infer_cadence(dataset["time"]))

    def until(self, init: cftime.datetime) -> int:
        """How many of them have ended by then."""
        return int(np.searchsorted(self.ends[:, 1], init, side="right"))

    def ahead(self, init: cftime.datetime, leads: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels and ends of the ``leads`` periods after ``init``.

        A period that the record holds keeps the record's own label; beyond it labels go on in the record's manner.

        Args:
            init: End of the last input period.
            leads: How many periods.

        Returns:
            ``cftime`` labels ``(leads,)`` and ends ``(leads, 2)``.
        """
        ends = np.array([[self.cadence.advance(init, n), self.cadence.advance(init, n + 1)] for n in range(leads)])
        ahead = [self.cadence.between(self.ends[-1, 0], start) for start in ends[:, 0]]
        made = [self.cadence.advance(self.labels[-1], count) for count in ahead]
        return np.array([self._known.get(start, label) for start, label in zip(ends[:, 0], made, strict=True)]), ends

    @cached_property
    def _known(self) -> dict[cftime.datetime, cftime.datetime]:
        """Label of the period that starts at a date."""
        return dict(zip(self.ends[:, 0], self.labels, strict=True))


def season_phase(time_bnds: xr.DataArray) -> np.ndarray:
    """Phase of the season at the middle of each period, in turns of the year (0 at its start), ``(time,)``."""
    bounds = dates(time_bnds)
    middle = bounds[..., 0] + (bounds[..., 1] - bounds[..., 0]) / 2
    return np.array([_year_fraction(date) for date in middle.ravel()]).reshape(middle.shape)


def daily_cycle(bounds: np.ndarray) -> np.ndarray:
    """Two harmonics of the hour at the middle of each period, as far as a day's steps tell them; none of whole days.

    Args:
        bounds: Ends of the periods, ``cftime``, ``(time, 2)``, all of one length.

    Returns:
        ``(time, terms)``: four of hourly steps, three of six-hourly ones, no column where a step is a day or more.
    """
    length = bounds[0, 1] - bounds[0, 0]
    if length >= timedelta(days=1):
        return np.zeros((len(bounds), 0))
    middle = bounds[:, 0] + length / 2
    turns = np.array([(date.hour + date.minute / 60) / 24 for date in middle])
    whole_day = turns[0] + np.arange(0, 1, length / timedelta(days=1))
    told = waves(whole_day, 2).std(axis=0) > 1e-6  # of six-hourly steps the second harmonic is a single wave
    return waves(turns, 2)[:, told]


def waves(phase: np.ndarray, harmonics: int) -> np.ndarray:
    """Cosine and sine of each harmonic at these phases, from 0 to 1, ``(time, 2 * harmonics)``."""
    angle = 2 * np.pi * phase
    found = np.empty((len(angle), 2 * harmonics))
    for order in range(1, harmonics + 1):
        found[:, 2 * order - 2], found[:, 2 * order - 1] = np.cos(order * angle), np.sin(order * angle)
    return found


def years(time: xr.DataArray) -> np.ndarray:
    """Calendar year of each label, ``(time,)``."""
    return np.asarray(time.dt.year.values)


def _year_fraction(date: cftime.datetime) -> float:
    start = date.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    return (date - start) / (start.replace(year=date.year + 1) - start)


def _floor(date: cftime.datetime, cadence: Cadence) -> cftime.datetime:
    if cadence.unit == "hours":
        return date
    day = date.replace(hour=0, minute=0, second=0, microsecond=0)
    if cadence.unit == "days":
        return day
    return day.replace(day=1) if cadence.unit == "months" else day.replace(day=1, month=1)


def _days_in_month(year: int, month: int, calendar: str) -> int:
    return int(cftime.datetime(year, month, 1, calendar=calendar).daysinmonth)
