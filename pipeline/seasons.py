"""The same time of year: what a record had to say of it in all of its years."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.periods import seconds

_SEASON_DAYS = 7
"""Days on either side that count as the same time of year, where a step is a day or less."""


def by_season(
    record: xr.DataArray, valid_time: xr.DataArray, statistic: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray:
    """A statistic of the record over the steps at the same time of year as each valid time.

    All steps where they are years, the same month where they are months, the same hour within a week of the day where
    they are days or hours.

    Args:
        record: Dims ``(time, ...)``.
        valid_time: One-dimensional, along ``lead_time`` or ``time``.
        statistic: Takes some steps of the record, reduces ``time``.

    Returns:
        The statistic with the dim of ``valid_time`` in place of ``time``.
    """
    dim = str(valid_time.dims[0])
    step = _step_days(record["time"])
    seasons, place = np.unique(_season(valid_time, step), axis=0, return_inverse=True)
    own = _season(record["time"], step)
    parts = [statistic(record.isel(time=np.flatnonzero(_is_near(own, season)))) for season in seasons]
    joined = xr.concat(parts, dim=dim, coords="minimal", compat="override").isel({dim: place.ravel()})
    return joined.assign_coords({dim: valid_time[dim]})


def _season(time: xr.DataArray, step: float) -> NDArray[np.int64]:
    """Month, day of the year and hour, as far as steps of that length tell them apart, ``(time, 3)``."""
    parts = (time.dt.month, time.dt.dayofyear, time.dt.hour)
    told = (20 < step < 300, step <= 20, step < 1)
    return np.stack([part.values.astype("int64") * flag for part, flag in zip(parts, told, strict=True)], axis=1)


def _is_near(seasons: NDArray[np.int64], season: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The same month and hour, and at most a week apart, ``(time,)``."""
    days = abs(seasons[:, 1] - season[1])
    near = np.minimum(days, 365 - days) <= _SEASON_DAYS
    return np.asarray(near & (seasons[:, 0] == season[0]) & (seasons[:, 2] == season[2]))


def _step_days(time: xr.DataArray) -> float:
    return float(np.median(np.diff(seconds(time[:25])))) / 86_400
