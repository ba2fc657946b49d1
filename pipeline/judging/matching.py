"""What happened at the valid times of a forecast: observations laid out as the ensemble is, missing where unknown."""

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError

SPACE = ("latitude", "longitude")


def at_valid_times(observation: xr.DataArray, valid_time: xr.DataArray, *, what: str = "observation") -> xr.DataArray:
    """Fields at each valid time, lazily, NaN where the observation does not have that time.

    Args:
        observation: Dims ``(time, ...)``, each time once.
        valid_time: Labels of the periods, dims ``(init_time, lead_time)``, on the calendar of ``observation``.
        what: How messages name the observation.

    Returns:
        Dims ``(init_time, lead_time, ...)``, one initial time to a chunk, attributes kept.

    Raises:
        TercileError: Another calendar, repeated times, or none of the valid times.
    """
    index = _positions(observation["time"], valid_time.transpose("init_time", "lead_time"), what=what)
    lazy = observation.transpose("time", ...)
    lazy = lazy if lazy.chunks is not None else lazy.chunk()
    rows = [_rows(lazy.data, row) for row in index]
    coords = {name: coord for name, coord in lazy.coords.items() if "time" not in coord.dims and name in lazy.dims}
    coords |= {"init_time": valid_time["init_time"], "lead_time": valid_time["lead_time"], "valid_time": valid_time}
    dims = ("init_time", "lead_time", *lazy.dims[1:])
    return xr.DataArray(da.stack(rows), dims=dims, coords=coords, attrs=observation.attrs, name=observation.name)


def check_grid(array: xr.DataArray, forecast: xr.DataArray, *, what: str) -> None:
    """Refuse an array that lies on another grid than the forecast.

    Raises:
        TercileError: Other latitudes or longitudes.
    """
    for dim in SPACE:
        same = array.sizes.get(dim) == forecast.sizes[dim]
        if not same or not np.allclose(array[dim], forecast[dim], rtol=0, atol=1e-4):
            raise TercileError(f"{what}: is on another {dim} than forecast; regrid it first.")


def check_labels(array: xr.DataArray, forecast: xr.DataArray, *, what: str) -> None:
    """Refuse dims that the forecast lacks, and scenarios, levels or times that are not the forecast's, in its order.

    Raises:
        TercileError: Such a dim, named.
    """
    for dim in array.dims:
        if dim not in forecast.dims:
            raise TercileError(f"{what}: has the dim {dim!r}, which forecast lacks; select along it first.")
        known = dim in array.coords and dim in forecast.coords and dim not in SPACE
        if known and not array.indexes[dim].equals(forecast.indexes[dim]):
            raise TercileError(f"{what}: its {dim} is not that of forecast; select the same, in the same order.")


def check_units(observation: xr.DataArray, forecast: xr.DataArray, *, what: str = "observation") -> None:
    """Refuse stated units that differ; unstated ones pass.

    Raises:
        TercileError: Both state units, and not the same.
    """
    mine, theirs = observation.attrs.get("units"), forecast.attrs.get("units")
    if None not in (mine, theirs) and mine != theirs:
        raise TercileError(f"{what}: is in {mine!r}, forecast in {theirs!r}; convert one of them first.")


def _positions(time: xr.DataArray, valid_time: xr.DataArray, *, what: str) -> NDArray[np.intp]:
    """Where each valid time lies among the times, -1 for nowhere, ``(init_time, lead_time)``."""
    if time.dt.calendar != valid_time.dt.calendar:
        raise TercileError(
            f"{what}: is on the calendar {time.dt.calendar!r}, forecast on {valid_time.dt.calendar!r}; "
            "convert one of them first."
        )
    labels = time.to_index()
    if not labels.is_unique:
        raise TercileError(f"{what}: holds the time {labels[labels.duplicated()][0]} more than once; remove repeats.")
    index = labels.get_indexer(pd.Index(valid_time.values.ravel()))
    if (index < 0).all():
        raise TercileError(
            f"{what}: none of the valid times {valid_time.values.min()} to {valid_time.values.max()} is among its "
            f"times {labels.min()} to {labels.max()}; labels must match exactly."
        )
    return np.asarray(index).reshape(valid_time.shape)


def _rows(source: da.Array, index: NDArray[np.intp]) -> da.Array:
    """Rows of ``source``, NaN for -1; consecutive ones as a slice, which costs no copy."""
    if index[0] >= 0 and (np.diff(index) == 1).all():
        return source[int(index[0]) : int(index[-1]) + 1]
    known = (index >= 0).reshape(-1, *(1,) * (source.ndim - 1))
    return da.where(known, source[np.maximum(index, 0)], np.asarray(np.nan, dtype=source.dtype))
