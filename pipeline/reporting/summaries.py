"""What the report draws, computed from an ensemble and the record, lazily and for the latest initial time alone.

Everything is an anomaly: a value minus the record's mean over the reference years at the same time of year, so that a
season's own cycle is neither a signal nor a spread. NaN propagates: a cell or a lead with a missing member is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError
from pipeline.grid import area_mean
from pipeline.seasons import by_season
from pipeline.units import READ_IN

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The levels of a fan, from low to high."""

MANY_YEARS = 20
"""Years of months from which on a forecast is drawn by year."""

_READ_IN = {**READ_IN, "m2 s-2": (1 / 9.80665, "gpm")}
"""Units people read, as a factor on an anomaly. Source of 9.80665 m s-2: CGPM 1901, standard gravity."""


@dataclass(frozen=True)
class Subject:
    """One variable on one level: its forecast from the latest initial time, and its record.

    Attributes:
        name: Short name, with the level where there is one; unique in a report.
        label: In plain words.
        units: Units of anomalies as shown.
        forecast: Anomalies, dims ``([scenario], lead_time, member, latitude, longitude)``.
        record: Anomalies, dims ``([scenario], time, latitude, longitude)``.
        reference: Anomalies over the reference years, dims ``(time, latitude, longitude)``.
        mean: Mean over the reference years, ``(latitude, longitude)``, in the units of the store.
        labels: ``variable``, and ``level`` where there is one: what finds its scores.
    """

    name: str
    label: str
    units: str
    forecast: xr.DataArray
    record: xr.DataArray
    reference: xr.DataArray
    mean: xr.DataArray
    labels: Mapping[str, Any]

    @property
    def is_wetness(self) -> bool:
        """Whether more of it means wetter."""
        return self.units == "mm per day"


def subjects(ensemble: xr.Dataset, record: xr.Dataset, *, reference: tuple[int, int]) -> list[Subject]:
    """The variables of an ensemble, each level by itself.

    Args:
        ensemble: Ensemble of one model; of several initial times the last is taken.
        record: The observed or simulated past, ``([realization], [scenario], time, [level], latitude, longitude)``,
            which may go on beyond the initial time; of several realizations the first is taken.
        reference: First and last year of the reference climatology, both included.

    Raises:
        TercileError: No field in common, or no record in the reference years.
    """
    record = record.isel(realization=0, drop=True) if "realization" in record.dims else record
    names = [str(name) for name, field in ensemble.data_vars.items() if "member" in field.dims and name in record]
    if not names:
        raise TercileError(f"report: ensemble ({', '.join(map(str, ensemble))}) and record share no variable.")
    latest = ensemble.isel(init_time=-1)
    latest = latest.assign_coords(valid_time=latest["valid_time"].compute())
    return [
        _subject(*parts, reference=reference)
        for name in names
        for parts in _levels(latest[name], record[name].transpose(..., "time", "latitude", "longitude"))
    ]


def by_year(subject: Subject) -> Subject:
    """Yearly means of a subject whose forecast has twenty or more years of months; any other as it is.

    What decades bring shows in years and drowns in the weather of 240 and more months. The twelve months count alike;
    one that is not whole is left out.
    """
    leads = subject.forecast["lead_time"]
    if leads.attrs.get("units") != "months" or leads.size < 12 * MANY_YEARS:
        return subject
    forecast = _yearly(subject.forecast, "valid_time")
    years = ("lead_time", np.arange(1, forecast.sizes["lead_time"] + 1), {"units": "years"})
    return replace(
        subject,
        label=f"yearly mean {subject.label}",
        forecast=forecast.assign_coords(lead_time=years),
        record=_yearly(subject.record, "time"),
        reference=_yearly(subject.reference, "time"),
    )


def leads_in(subject: Subject, drawn: Subject, window: tuple[int, int]) -> tuple[int, int]:
    """First and last lead of a subject in a window of what is drawn of it."""
    if drawn is subject:
        return window
    first, last = drawn.forecast["valid_time"].sel(lead_time=list(window)).dt.year.values
    year = subject.forecast["valid_time"].dt.year.values
    leads = subject.forecast["lead_time"].values[(first <= year) & (year <= last)]
    return int(leads[0]), int(leads[-1])


def at_place(field: xr.DataArray, place: tuple[float, float] | None) -> xr.DataArray:
    """Area mean, or the cell that holds a point given as latitude and longitude in degrees north and east."""
    if place is None:
        return area_mean(field)
    latitude, longitude = place
    west = float(field["longitude"][0])
    turned = (longitude - west) % 360 + west
    cell = field.sel(latitude=latitude, method="nearest")
    return cell.sel(longitude=turned, method="nearest").drop_vars(["latitude", "longitude"])


def fan(series: xr.DataArray) -> xr.DataArray:
    """Quantiles of the members at each lead, dims ``(quantile, ..., lead_time)``, quantiles from low to high."""
    return series.chunk(member=-1).quantile(QUANTILES, "member", skipna=False).transpose("quantile", ..., "lead_time")


def base_band(reference: xr.DataArray, valid_time: xr.DataArray) -> xr.DataArray:
    """The 5th and 95th percentile of the reference years at each lead's time of year, ``(quantile, lead_time)``."""
    return by_season(reference, valid_time, lambda years: years.quantile((0.05, 0.95), "time", skipna=False)).transpose(
        "quantile", ...
    )


def window_change(forecast: xr.DataArray, leads: tuple[int, int]) -> xr.DataArray:
    """Mean anomaly of all members over the leads, both included, dims ``([scenario], latitude, longitude)``."""
    return forecast.sel(lead_time=slice(*leads)).mean(("lead_time", "member"), skipna=False)


def window_exceedance(
    forecast: xr.DataArray, reference: xr.DataArray, *, quantile: float, leads: tuple[int, int]
) -> xr.DataArray:
    """Share of members and steps of a window above a quantile of the reference at that time of year, in %.

    Args:
        forecast: Anomalies, dims ``([scenario], lead_time, member, latitude, longitude)``.
        reference: Anomalies, dims ``(time, latitude, longitude)``.
        quantile: 1 is the highest value of the reference years.
        leads: First and last lead, both included.

    Returns:
        Share, dims ``([scenario], latitude, longitude)``; NaN where a member or the reference is missing.
    """
    window = forecast.sel(lead_time=slice(*leads))
    limit = by_season(reference, window["valid_time"], lambda years: years.quantile(quantile, "time", skipna=False))
    known = window.notnull() & limit.notnull()
    return 100 * (window > limit).where(known).mean(("lead_time", "member"), skipna=False)


def exceedance_curve(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values, and the chance in % that each is exceeded; at most 101 points, from certain to never."""
    chance = np.linspace(100, 0, min(101, max(2, values.size)))
    return np.quantile(values, 1 - chance / 100), chance


def _yearly(months: xr.DataArray, time: str) -> xr.DataArray:
    """Means of whole calendar years, each dated as its first month."""
    dim = str(months[time].dims[0])
    _, place, counts = np.unique(months[time].dt.year.values, return_inverse=True, return_counts=True)
    whole = months.isel({dim: np.flatnonzero(counts[place] == 12)})
    return whole.coarsen({dim: 12}, coord_func="min").reduce(np.mean)


def _levels(
    forecast: xr.DataArray, record: xr.DataArray
) -> list[tuple[str, dict[str, Any], xr.DataArray, xr.DataArray]]:
    name = str(forecast.name)
    if "level" not in forecast.dims:
        return [(name, {"variable": name}, forecast, record)]
    units = forecast["level"].attrs.get("units", "hPa")
    return [
        (
            f"{name} at {level:g} {units}".strip(),
            {"variable": name, "level": level},
            forecast.sel(level=level, drop=True),
            record.sel(level=level, drop=True),
        )
        for level in forecast["level"].values
    ]


def _subject(
    name: str, labels: Mapping[str, Any], forecast: xr.DataArray, record: xr.DataArray, *, reference: tuple[int, int]
) -> Subject:
    factor, units = _READ_IN.get(forecast.attrs.get("units", ""), (1.0, forecast.attrs.get("units", "")))
    label = forecast.attrs.get("long_name", str(forecast.name))
    year = record["time"].dt.year
    past = record.isel(time=np.flatnonzero((year >= reference[0]) & (year <= reference[1])))
    past = past.isel(scenario=0, drop=True) if "scenario" in past.dims else past
    if past.sizes["time"] < 2:
        raise TercileError(
            f"report: the record has no steps of {name} in the reference years {reference[0]}–{reference[1]}."
        )

    def anomaly(field: xr.DataArray, time: xr.DataArray) -> xr.DataArray:
        return factor * (field - by_season(past, time, lambda years: years.mean("time", skipna=False)))

    return Subject(
        name,
        name.replace(str(forecast.name), label, 1),
        units,
        anomaly(forecast, forecast["valid_time"]),
        anomaly(record, record["time"]),
        anomaly(past, past["time"]),
        past.mean("time", skipna=False),
        labels,
    )
