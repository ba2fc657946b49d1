"""Regridding between grids of latitudes and longitudes: one matrix for each axis, exact on the sphere.

A target cell takes from each source cell the share of itself that they have in common (``conservative``), or from the
two neighbours on each axis by distance (``bilinear``). Missing source cells are left out of sum and weights alike;
a target cell of which less than ``least`` is known is missing.
"""

from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import InputRefusedError
from pipeline.grid import is_global
from pipeline.places.polygons import cell_edges

Method = Literal["conservative", "bilinear"]


def regrid(
    dataset: xr.Dataset, latitude: NDArray[np.float64], longitude: NDArray[np.float64], *, method: Method, least: float
) -> xr.Dataset:
    """The fields of a data set on another grid, lazily; whatever has no grid stays as it is.

    Args:
        dataset: Canonical, latitudes and longitudes ascending, degrees.
        latitude: Target centres, ascending, degrees north.
        longitude: Target centres, ascending, degrees east.
        method: ``conservative`` keeps area integrals; ``bilinear`` keeps smooth fields smooth.
        least: Least share of a target cell that must be known, 0 to 1.
    """
    rows = _weights(dataset["latitude"].values, latitude, method=method, is_latitude=True)
    columns = _weights(dataset["longitude"].values, longitude, method=method, is_latitude=False)
    fields = {
        str(name): _apply(array, rows, columns, least) if {"latitude", "longitude"} <= set(array.dims) else array
        for name, array in dataset.data_vars.items()
    }
    found = xr.Dataset(fields).assign_coords(latitude=("latitude", latitude), longitude=("longitude", longitude))
    for name in ("latitude", "longitude"):
        found[name].attrs = dataset[name].attrs
    return found.assign_attrs(dataset.attrs)


def covered(
    dataset: xr.Dataset, latitude: NDArray[np.float64], longitude: NDArray[np.float64], *, least: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The part of a grid of the globe that a record covers, in the order of the record's own longitudes.

    A row and a column are each covered so far that the cell where they meet is, at the corner of the record too.

    Args:
        dataset: Canonical, latitudes and longitudes ascending, degrees.
        latitude: Centres, ascending, degrees north.
        longitude: Centres, ascending, degrees east.
        least: Least share of a cell that must be covered, 0 to 1.

    Raises:
        InputRefusedError: No cell is covered.
    """
    source = dataset["longitude"].values
    if not is_global(dataset["longitude"]):
        west = (source[0] + source[-1]) / 2 - 180
        longitude = np.sort(west + (longitude - west) % 360)
    rows = _weights(dataset["latitude"].values, latitude, method="conservative", is_latitude=True).sum(1)
    columns = _weights(source, longitude, method="conservative", is_latitude=False).sum(1)
    share = max(least, 1e-9) ** 0.5 - 1e-9
    latitude, longitude = latitude[rows >= share], longitude[columns >= share]
    if not latitude.size or not longitude.size:
        raise InputRefusedError("regrid: the source covers no cell of that `step`; give a smaller one.")
    return latitude, longitude


def _apply(array: xr.DataArray, rows: NDArray[np.float64], columns: NDArray[np.float64], least: float) -> xr.DataArray:
    found = xr.apply_ufunc(
        _combine,
        array,
        input_core_dims=[["latitude", "longitude"]],
        output_core_dims=[["latitude", "longitude"]],
        exclude_dims={"latitude", "longitude"},
        kwargs={"rows": rows, "columns": columns, "least": least},
        dask="parallelized",
        dask_gufunc_kwargs={
            "output_sizes": {"latitude": len(rows), "longitude": len(columns)},
            "allow_rechunk": True,
        },
        output_dtypes=[array.dtype],
        keep_attrs=True,
    )
    return found.transpose(*array.dims)


def _combine(
    field: NDArray[np.float32], *, rows: NDArray[np.float64], columns: NDArray[np.float64], least: float
) -> NDArray[np.float32]:
    known = ~np.isnan(field)
    total = rows @ np.where(known, field, 0.0).astype("float64") @ columns.T
    if known.all() and np.allclose(rows.sum(1), 1) and np.allclose(columns.sum(1), 1):
        return total.astype(field.dtype)
    share = rows @ known.astype("float64") @ columns.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(share >= max(least, 1e-9), total / share, np.nan).astype(field.dtype)


def _weights(
    source: NDArray[np.float64], target: NDArray[np.float64], *, method: Method, is_latitude: bool
) -> NDArray[np.float64]:
    """Share that each source cell has in each target cell, ``(target, source)``; rows sum to what is covered."""
    source, target = source.astype("float64"), target.astype("float64")
    if method == "bilinear":
        return _linear(source, target, is_latitude=is_latitude)
    limit = 90.0 if is_latitude else None
    ours, theirs = cell_edges(target, limit=limit), cell_edges(source, limit=limit)
    shifts = (0.0,) if is_latitude else (-360.0, 0.0, 360.0)
    if is_latitude:  # the area between two parallels goes with the sine of latitude
        ours, theirs = np.sin(np.deg2rad(ours)), np.sin(np.deg2rad(theirs))
    common = np.zeros((target.size, source.size))
    for shift in shifts:
        low = np.maximum(ours[:-1, None], theirs[None, :-1] + shift)
        high = np.minimum(ours[1:, None], theirs[None, 1:] + shift)
        common += np.clip(high - low, 0.0, None)
    return np.asarray(common / np.diff(ours)[:, None])


def _linear(source: NDArray[np.float64], target: NDArray[np.float64], *, is_latitude: bool) -> NDArray[np.float64]:
    """Weights of the two neighbours; longitudes go round the circle, nothing is extrapolated beyond half a cell."""
    found = np.zeros((target.size, source.size))
    step = float(np.diff(source).mean())
    is_round = not is_latitude and np.isclose(source[-1] - source[0] + step, 360.0, atol=1e-2)
    points = np.concatenate([[source[-1] - 360.0], source, [source[0] + 360.0]]) if is_round else source
    columns = np.arange(-1, source.size + 1) % source.size if is_round else np.arange(source.size)
    wanted = target if is_latitude else (target - points[0]) % 360.0 + points[0]
    for row, place in enumerate(wanted):
        if not points[0] - step / 2 <= place <= points[-1] + step / 2:
            continue
        left = int(np.clip(np.searchsorted(points, place) - 1, 0, points.size - 2))
        part = float(np.clip((place - points[left]) / (points[left + 1] - points[left]), 0.0, 1.0))
        found[row, columns[left]] += 1.0 - part
        found[row, columns[left + 1]] += part
    return found
