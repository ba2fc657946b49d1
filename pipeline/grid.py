"""The grid: areas of cells, whether longitude closes the circle, and means over the area."""

import numpy as np
import xarray as xr

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth, km. Source: IUGG (Moritz 2000), doi:10.1007/s001900050278."""


def cell_area(latitude: xr.DataArray, longitude: xr.DataArray) -> xr.DataArray:
    """Area of each cell in km², dims ``(latitude, longitude)``; edges lie half-way between centres."""
    band = np.diff(np.sin(np.deg2rad(np.clip(_edges(latitude.values.astype(float)), -90, 90))))
    width = np.deg2rad(np.diff(_edges(longitude.values.astype(float))))
    area = EARTH_RADIUS_KM**2 * band[:, None] * width[None, :]
    coords = {"latitude": latitude, "longitude": longitude}
    return xr.DataArray(area, dims=("latitude", "longitude"), coords=coords, attrs={"units": "km2"}, name="cell_area")


def area_weights(dataset: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Cell areas divided by their mean, dims ``(latitude, longitude)``."""
    area = cell_area(dataset["latitude"], dataset["longitude"])
    return (area / area.mean()).drop_attrs()


def area_mean(array: xr.DataArray) -> xr.DataArray:
    """Area-weighted mean over the cells that are never missing; a lasting mask only changes the weights.

    A field without any value, as after the end of a scenario that is shorter than another, has a missing mean and
    leaves the mask of all others as it is.
    """
    other = [dim for dim in array.dims if dim not in ("latitude", "longitude")]
    known = array.notnull()
    any_known = known.any(("latitude", "longitude"))
    mask = (known | ~any_known).all(other)
    weights = area_weights(array).where(mask, 0.0)
    return array.where(mask, 0.0).weighted(weights).mean(("latitude", "longitude")).where(any_known)


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Length of the great circle between two places, each a latitude and a longitude in degrees."""
    (north, east), (other_north, other_east) = np.radians(one), np.radians(other)
    across = np.cos(north) * np.cos(other_north) * np.sin((other_east - east) / 2) ** 2
    half = np.sin((other_north - north) / 2) ** 2 + across
    return float(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(min(1.0, half))))


def is_global(longitude: xr.DataArray) -> bool:
    """Whether the longitudes close the circle."""
    values = longitude.values.astype(float)
    return bool(np.isclose(values[-1] - values[0] + np.diff(values).mean(), 360.0, atol=1e-2))


def _edges(centres: np.ndarray) -> np.ndarray:
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
