"""What is done to a source's data before it enters the archive: declared in the experiment, lazy, and recorded.

The order is fixed: years, levels, region, aggregation in time, regridding.
"""

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, Self

import cftime
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.errors import InputRefusedError
from pipeline.events.errors import QuestionError
from pipeline.events.parse import parse_region
from pipeline.events.tree import Box
from pipeline.grid import is_global
from pipeline.intake.regrid import Method, covered, regrid
from pipeline.names import SAME_DEGREES, Span
from pipeline.periods import Cadence, dates, from_dates, has_bounds, infer_cadence, seconds

How = Literal["mean", "min", "max", "sum", "first"]
CELL_METHODS: Mapping[str, str] = {"mean": "mean", "min": "minimum", "max": "maximum", "sum": "sum", "first": "point"}


class AggregateConfig(BaseModel):
    """Steps of the source gathered into longer periods; a period that is not whole is left out.

    In a mean each month weighs as long as it lasts.

    Attributes:
        to: The period.
        how: Short name → what is done with its steps; the mean where not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    to: Literal["days", "months", "years"]
    how: dict[str, How] = Field(default_factory=dict)


class RegridConfig(BaseModel):
    """Another grid, regular in latitude and longitude.

    Attributes:
        step: Degrees between centres, of latitude and longitude alike: rows begin at the south pole, one column is
            centred on 0 E, and a record of a region has its own part of that grid.
        latitudes: Centres instead: first, last and how many.
        longitudes: Centres instead: first, last and how many.
        method: ``conservative`` keeps area means, ``bilinear`` interpolates.
        least: Least share of a new cell that must be known; below it the cell is missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: float | None = Field(None, gt=0, le=90)
    latitudes: tuple[float, float, int] | None = None
    longitudes: tuple[float, float, int] | None = None
    method: Method = "conservative"
    least: float = Field(0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _one_grid(self) -> Self:
        if (self.step is None) == (self.latitudes is None) or (self.latitudes is None) != (self.longitudes is None):
            raise ValueError("give either `step`, or both `latitudes` and `longitudes` as [first, last, count]")
        return self

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitudes and longitudes of the centres, ascending, degrees."""
        if self.step is None and self.latitudes and self.longitudes:
            return np.sort(np.linspace(*self.latitudes)), np.sort(np.linspace(*self.longitudes))
        step = float(self.step or 1)
        rows, columns = round(180 / step), round(360 / step)
        return (np.arange(rows) + 0.5) * 180 / rows - 90, np.arange(columns) * 360 / columns


class Processing(BaseModel):
    """What is done to a source's data, in this order.

    Attributes:
        years: First and last year to keep, both included.
        levels: Pressure levels to keep of profiles, hPa.
        region: ``box(lat=a..b, lon=c..d)`` to keep, by the centres of cells.
        aggregate: Longer periods.
        regrid: Another grid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    years: tuple[int, int] | None = None
    levels: list[float] | None = None
    region: str | None = None
    aggregate: AggregateConfig | None = None
    regrid: RegridConfig | None = None

    @field_validator("region")
    @classmethod
    def _a_box(cls, region: str | None) -> str | None:
        if region is not None:
            box_of(region)
        return region

    @field_validator("years")
    @classmethod
    def _forwards(cls, years: tuple[int, int] | None) -> tuple[int, int] | None:
        if years and years[0] > years[1]:
            raise ValueError(f"years {years[0]}–{years[1]} run backwards")
        return years


def box_of(region: str) -> Box:
    """The box that a text means.

    Raises:
        ValueError: It is no box.
    """
    try:
        found = parse_region(region)
    except QuestionError as error:
        raise ValueError(f"region: {error}") from error
    if not isinstance(found, Box):
        raise ValueError(f"region: '{region}' is no box; write box(lat=a..b, lon=c..d)")
    return found


def narrowed(dataset: xr.Dataset, config: Processing) -> xr.Dataset:
    """A raw data set cut to the years and the box where slices do it, so that no byte beyond them is ever read.

    Args:
        dataset: With its dimensions in our names, before any arithmetic.
        config: What will be done; the exact cut is made again by ``process``.
    """
    if config.years is not None and "time" in dataset.indexes and dataset["time"].dtype.kind in "MO":
        # Bounds may yet tell that a label at the end of its period belongs to the day before.
        has_ends = dataset["time"].attrs.get("bounds", "time_bnds") in dataset.variables
        keep = _of_years(dataset["time"], config.years, day_after=has_ends or config.aggregate is not None)
        dataset = dataset.isel(time=slice(int(keep[0]), int(keep[-1]) + 1)) if keep.size else dataset
    if config.region is None or not {"latitude", "longitude"} <= set(dataset.indexes):
        return dataset
    rows, columns = _within(dataset, box_of(config.region), _margin(dataset, config.regrid))
    if rows.size:
        dataset = dataset.isel(latitude=slice(int(rows[0]), int(rows[-1]) + 1))
    if columns.size and not (np.diff(columns) > 1).any():
        dataset = dataset.isel(longitude=slice(int(columns[0]), int(columns[-1]) + 1))
    return dataset


def selected(dataset: xr.Dataset, wanted: Mapping[str, float]) -> xr.Dataset:
    """A raw data set at one value of some of its other dimensions; of a lead time, labelled by when it holds.

    Raises:
        InputRefusedError: No such dimension, or no such value of it.
    """
    for dim, value in wanted.items():
        if dim not in dataset.indexes:
            raise InputRefusedError(f"select: no dimension '{dim}' with values; the source has {list(dataset.sizes)}.")
        hours = _hours(dataset[dim])
        numbers = dataset[dim].values.astype("float64") if hours is None else hours
        at = np.flatnonzero(np.isclose(numbers, value))
        if not at.size:
            raise InputRefusedError(f"select: '{dim}' has no {value:g}; it has {', '.join(f'{n:g}' for n in numbers)}.")
        dataset = dataset.isel({dim: int(at[0])}).drop_vars(dim)
        if hours is not None:
            lead = np.timedelta64(round(hours[at[0]] * 3600), "s")
            labels = dataset["time"].values
            later = labels + (lead if labels.dtype.kind == "M" else lead.astype(object))
            dataset = dataset.assign_coords(time=dataset["time"].copy(data=later))
    return dataset


def _hours(axis: xr.DataArray) -> NDArray[np.float64] | None:
    """Lead times in hours, or None where an axis is something else."""
    if axis.dtype.kind == "m":
        return np.asarray(axis.values / np.timedelta64(1, "h"), dtype="float64")
    unit = {"hours": 1.0, "days": 24.0, "minutes": 1 / 60, "seconds": 1 / 3600}.get(axis.attrs.get("units", ""))
    return None if unit is None else axis.values.astype("float64") * unit


def process(dataset: xr.Dataset, config: Processing, *, accumulated: Mapping[str, Span]) -> xr.Dataset:
    """A canonical data set after all that is declared, lazily.

    Args:
        dataset: Canonical.
        config: What to do.
        accumulated: Short name → hours before its label that a value covers, or its own ``period``.

    Raises:
        InputRefusedError: Nothing is left.
    """
    if config.years is not None:
        dataset = _cut(dataset, config.years, day_after=config.aggregate is not None)
    if config.levels is not None and "level" in dataset.dims:
        dataset = dataset.sel(level=_levels(dataset, config.levels))
    if config.region is not None:
        dataset = _crop(dataset, box_of(config.region), _margin(dataset, config.regrid))
    if config.aggregate is not None:
        dataset = _aggregate(dataset, config.aggregate, accumulated)
        dataset = dataset if config.years is None else _cut(dataset, config.years, day_after=False)
    if config.regrid is not None:
        latitude, longitude = config.regrid.centres()
        if config.regrid.step is not None:  # the grid of the globe, of which a regional record needs its own part
            latitude, longitude = covered(dataset, latitude, longitude, least=config.regrid.least)
        dataset = regrid(dataset, latitude, longitude, method=config.regrid.method, least=config.regrid.least)
        if config.region is not None:
            dataset = _crop(dataset, box_of(config.region), 0.0)
    return dataset


def _of_years(time: xr.DataArray, years: tuple[int, int], *, day_after: bool) -> np.ndarray:
    """Steps whose label lies in some years, or in the day after them, as a label at the end of its period may."""
    day = np.timedelta64(1, "D") if time.dtype.kind == "M" else timedelta(days=1)
    before = time.copy(data=time.values - day) if day_after else time
    return np.flatnonzero((time.dt.year.values >= years[0]) & (before.dt.year.values <= years[1]))


def _cut(dataset: xr.Dataset, years: tuple[int, int], *, day_after: bool) -> xr.Dataset:
    keep = _of_years(dataset["time"], years, day_after=day_after)
    return dataset.isel(time=_span(keep, f"years {years[0]}–{years[1]}"))


def _span(keep: np.ndarray, what: str) -> slice:
    if not keep.size:
        raise InputRefusedError(f"processing: nothing of the source lies in {what}.")
    return slice(int(keep[0]), int(keep[-1]) + 1)


def _levels(dataset: xr.Dataset, wanted: list[float]) -> list[float]:
    have = dataset["level"].values.tolist()
    missing = [level for level in wanted if level not in have]
    if missing:
        raise InputRefusedError(f"processing: no level {missing} hPa in the source, which has {have}.")
    return wanted


def _margin(dataset: xr.Dataset, target: RegridConfig | None) -> float:
    """Degrees beyond the box that regridding needs."""
    if target is None:
        return 0.0
    return float(np.diff(target.centres()[0]).max() + np.abs(np.diff(dataset["latitude"])).max())


def _crop(dataset: xr.Dataset, box: Box, margin: float) -> xr.Dataset:
    rows, columns = _within(dataset, box, margin)
    if not columns.size:
        raise InputRefusedError("processing: nothing of the source lies in the region.")
    dataset = dataset.isel(latitude=_span(rows, "the region"))
    return _turned(dataset, box.west - margin - SAME_DEGREES, columns)


def _within(dataset: xr.Dataset, box: Box, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns whose centres lie in a box."""
    latitude, margin = dataset["latitude"].values, margin + SAME_DEGREES
    rows = np.flatnonzero((latitude >= box.south - margin) & (latitude <= box.north + margin))
    width = (box.east - box.west) % 360 or 360.0
    east_of = (dataset["longitude"].values - box.west + margin) % 360
    return rows, np.flatnonzero(east_of <= min(width + 2 * margin, 360.0))


def _turned(dataset: xr.Dataset, west: float, columns: np.ndarray) -> xr.Dataset:
    """The columns of a box in order from its western edge, which may lie across the edge of the grid."""
    if columns.size == dataset.sizes["longitude"] and is_global(dataset["longitude"]):
        return dataset
    breaks = np.flatnonzero(np.diff(columns) > 1)
    if not breaks.size:
        return dataset.isel(longitude=slice(int(columns[0]), int(columns[-1]) + 1))
    first, second = columns[: breaks[0] + 1], columns[breaks[0] + 1 :]
    parts = [dataset.isel(longitude=slice(int(part[0]), int(part[-1]) + 1)) for part in (second, first)]
    attrs = dataset["longitude"].attrs
    parts = [
        part.assign_coords(longitude=part["longitude"] - 360 * np.floor((part["longitude"] - west) / 360))
        for part in parts
    ]
    joined = xr.concat(parts, "longitude", data_vars="minimal", coords="minimal", compat="override", join="override")
    joined["longitude"].attrs = attrs
    return joined


def _aggregate(dataset: xr.Dataset, config: AggregateConfig, accumulated: Mapping[str, Span]) -> xr.Dataset:
    cadence, wanted = infer_cadence(dataset["time"]), Cadence(config.to)
    if cadence.unit == config.to or cadence.per_year < wanted.per_year:
        raise InputRefusedError(f"processing: steps of {cadence} cannot be gathered into {config.to}.")
    # Where periods are given their labels lie in them, however long before a label a value is said to begin.
    is_given = "time_bnds" in dataset and has_bounds(dataset)
    hours = {name: span for name, span in accumulated.items() if span != "period" and not is_given}
    fields = {
        str(name): _gather(array, cadence, wanted, config.how.get(str(name), "mean"), hours.get(str(name), 0.0))
        for name, array in dataset.data_vars.items()
        if "latitude" in array.dims
    }
    found = xr.merge(list(fields.values()), join="inner", combine_attrs="drop_conflicts", compat="override")
    starts = dates(found["time"])
    ends = np.array([[start, wanted.advance(start, 1)] for start in starts])
    return found.assign(time_bnds=(("time", "bnds"), from_dates(ends)))


def _gather(array: xr.DataArray, cadence: Cadence, wanted: Cadence, how: How, hours: float) -> xr.DataArray:
    """One variable by periods. A value that covers the hours before its label belongs to the period of their start."""
    labels = dates(array["time"])
    if hours:
        labels = labels - np.timedelta64(int(hours * 3600), "s").astype(object)
    starts = np.array([_floor(label, wanted) for label in labels])
    _, first, count = np.unique(seconds(xr.DataArray(starts)), return_index=True, return_counts=True)
    whole = [
        cadence.between(starts[at], wanted.advance(starts[at], 1)) == steps
        for at, steps in zip(first, count, strict=True)
    ]
    kept = [(int(at), int(steps)) for at, steps, is_whole in zip(first, count, whole, strict=True) if is_whole]
    if not kept:
        raise InputRefusedError(f"processing: '{array.name}' has no whole period of {wanted}.")
    is_uneven = how == "mean" and cadence == Cadence("months")
    reduced = _reduce(array * _weights(labels, kept) if is_uneven else array, kept, how)
    methods = f"time: {CELL_METHODS[how]}"
    reduced = reduced.assign_coords(time=("time", from_dates(starts[[at for at, _ in kept]])))
    return reduced.assign_attrs({**array.attrs, "cell_methods": methods}).rename(array.name)


def _weights(labels: np.ndarray, kept: list[tuple[int, int]]) -> xr.DataArray:
    """Days of each step's month, mean one in a period: its mean is that of its days, not of its months."""
    days = np.array([label.daysinmonth for label in labels], dtype="float64")
    for at, steps in kept:
        days[at : at + steps] /= days[at : at + steps].mean()
    return xr.DataArray(days.astype("float32"), dims="time")


def _reduce(array: xr.DataArray, kept: list[tuple[int, int]], how: How) -> xr.DataArray:
    if how == "first":
        return array.isel(time=[at for at, _ in kept])
    counts = {steps for _, steps in kept}
    is_even = len(counts) == 1 and all(b == a + s for (a, s), (b, _) in itertools.pairwise(kept))
    if is_even:
        (at, _), (last, steps) = kept[0], kept[-1]
        whole = array.drop_vars("time").isel(time=slice(at, last + steps))
        return _named(whole.coarsen(time=steps).construct(time=("time", "step")), how, "step")
    parts = [_named(array.drop_vars("time").isel(time=slice(at, at + steps)), how, "time") for at, steps in kept]
    return xr.concat(parts, "time", coords="minimal", compat="override", join="override")


def _named(values: xr.DataArray, how: How, dim: str) -> xr.DataArray:
    """A reduction by name; a missing step makes the period missing."""
    found: xr.DataArray = getattr(values, how)(dim, skipna=False)
    return found


def _floor(date: cftime.datetime, wanted: Cadence) -> cftime.datetime:
    day = date.replace(hour=0, minute=0, second=0, microsecond=0)
    if wanted.unit == "days":
        return day
    return day.replace(day=1) if wanted.unit == "months" else day.replace(day=1, month=1)
