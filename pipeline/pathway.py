"""Warming pathways: the slow forcing of a scenario, as one number a step.

Emulators of this kind take as their covariate the smoothed warming of the area's mean. A pathway taken from the very
run that is to be judged is allowed, but it tells the model something of its future, so it is labelled
``given its own warming`` wherever a score is shown.
"""

import numpy as np
import xarray as xr

from pipeline.errors import TercileError
from pipeline.grid import area_mean
from pipeline.periods import years

WHOLE = 0.95
"""Share of the steps of the fullest year that make a year whole: a leap year and 53 weeks count as any other."""


def warming_pathway(field: xr.DataArray, *, reference: tuple[int, int], window: int) -> xr.DataArray:
    """Smoothed warming of the area's mean against its mean over the reference years.

    A centred running mean over ``window`` years whose ends follow a straight line through the last window, so that
    the newest years are not flattened. Sub-annual data is averaged to years first and interpolated back. A year that
    is not whole says nothing of its warming but the season of its steps: the line goes on through it. Years between
    those of the field are taken to lie on a straight line.

    Args:
        field: A temperature, ``([realization], time, latitude, longitude)``; realizations are averaged.
        reference: First and last year, both included.
        window: Years, made odd.

    Returns:
        ``(time,)`` in the units of ``field``.

    Raises:
        TercileError: The reference years are not in the record.

    Source:
        Savitzky and Golay (1964), first order, doi:10.1021/ac60214a047.
    """
    from scipy.signal import savgol_filter  # takes most of a second to load

    mean = area_mean(field)
    if "realization" in mean.dims:
        mean = mean.mean("realization")
    year = years(field["time"])
    names, position, count = np.unique(year, return_inverse=True, return_counts=True)
    annual = np.bincount(position, weights=mean.values.astype(float)) / count
    is_whole = count > WHOLE * count.max()
    at = year if names.size == year.size else np.interp(_decimal(field["time"]), names + 0.5, names)
    names, annual = names[is_whole], annual[is_whole]
    inside = (names >= reference[0]) & (names <= reference[1])
    if not inside.any():
        raise TercileError(
            f"background: reference years {reference[0]}–{reference[1]} lie outside the record {names[0]}–{names[-1]}."
        )
    every = np.arange(names[0], names[-1] + 1)
    filled = np.interp(every, names, annual)
    length = min(window | 1, every.size - (every.size + 1) % 2)
    smooth = savgol_filter(filled, length, polyorder=1, mode="interp") if length >= 3 else filled
    warming = smooth - annual[inside].mean()
    return xr.DataArray(_along_line(at, every, warming), dims="time", coords={"time": field["time"]})


def _along_line(at: np.ndarray, years: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values between whole years, and beyond the first and last of them as the line there goes on."""
    slopes = np.diff(values)[[0, -1]] if values.size > 1 else np.zeros(2)
    beyond = np.minimum(at - years[0], 0) * slopes[0] + np.maximum(at - years[-1], 0) * slopes[1]
    return np.asarray(np.interp(at, years, values) + beyond)


def _decimal(time: xr.DataArray) -> np.ndarray:
    return years(time) + (time.dt.dayofyear.values - 0.5) / 366
