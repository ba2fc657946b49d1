"""Do trajectories look like the climate: one diagnostic each, applied alike to members and to observations.

Every function keeps the dims that it does not use, so that a result from members has ``member`` and the one from
observations has not, and ``place_among`` says where the observed value lies among the members'. NaN propagates
unless a function says otherwise.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.fft import dct, rfft

from pipeline.grid import area_weights, is_global


def zonal_spectrum(field: xr.DataArray) -> xr.DataArray:
    """Variance by wavenumber along the parallels, averaged over latitude by area; adds up to the zonal variance.

    A closed circle takes the Fourier transform, a limited area the cosine transform, which needs no periodicity.
    Latitudes with a missing cell are left out.

    Args:
        field: Dims ``(latitude, longitude, ...)``.

    Returns:
        Dims ``(wavenumber, ...)``: cycles in the circle, or half cycles in the area; squared units of ``field``.

    Source:
        Denis, Côté and Laprise (2002), doi:10.1175/1520-0493(2002)130<1812:SDOTDA>2.0.CO;2.
    """
    power = _circle_power if is_global(field["longitude"]) else _area_power
    spectrum = xr.apply_ufunc(
        power,
        field.chunk(longitude=-1) if field.chunks else field,
        input_core_dims=[["longitude"]],
        output_core_dims=[["wavenumber"]],
        dask="parallelized",
        output_dtypes=[float],
        dask_gufunc_kwargs={"output_sizes": {"wavenumber": power(np.zeros(field.sizes["longitude"])).size}},
    )
    area = area_weights(field).isel(longitude=0, drop=True)
    mean = spectrum.weighted(area).mean("latitude", skipna=True)
    return mean.assign_coords(wavenumber=np.arange(1, mean.sizes["wavenumber"] + 1))


def autocorrelation(series: xr.DataArray, *, lags: Sequence[int], dim: str = "lead_time") -> xr.DataArray:
    """Correlation with itself ``lags`` steps later, about the mean of the whole series; dims ``(lag, ...)``.

    Args:
        series: Dims ``(dim, ...)``; remove trend and season first.
        lags: Steps, each shorter than the series.
        dim: Along which time runs.
    """
    centred = series - series.mean(dim, skipna=False)
    power = (centred**2).sum(dim, skipna=False)
    length = series.sizes[dim]
    products = [
        (centred.isel({dim: slice(0, length - lag)}).drop_vars(dim, errors="ignore")
         * centred.isel({dim: slice(lag, None)}).drop_vars(dim, errors="ignore")).sum(dim, skipna=False)
        for lag in lags
    ]  # fmt: skip
    return (xr.concat(products, dim="lag") / power.where(power > 0)).assign_coords(lag=list(lags))


def spell_lengths(happens: xr.DataArray, *, longest: int, dim: str = "lead_time") -> xr.DataArray:
    """How many spells last 1, 2, … ``longest`` steps (the last also counts longer ones); dims ``(length, ...)``.

    A spell that the ends of the series cut counts with the length that is seen.

    Args:
        happens: Whether the event happens in each step; a missing step ends a spell as a step without it does.
        longest: Longest length that is told apart.
        dim: Along which time runs.
    """
    counts = xr.apply_ufunc(
        lambda values: _count_spells(values, longest),
        happens.fillna(0).astype(bool),
        input_core_dims=[[dim]],
        output_core_dims=[["length"]],
    )
    return counts.assign_coords(length=np.arange(1, longest + 1))


def trend(series: xr.DataArray, *, dim: str = "lead_time") -> xr.DataArray:
    """Least-squares change for each step along ``dim``, in the units of ``series`` a step."""
    steps = xr.DataArray(np.arange(series.sizes[dim], dtype=float), dims=dim)
    centred = steps - steps.mean()
    return (series.drop_vars(dim, errors="ignore") * centred).sum(dim, skipna=False) / (centred**2).sum()


def annual_cycle(series: xr.DataArray, time: xr.DataArray) -> xr.Dataset:
    """Mean and standard deviation for each calendar month, dims ``(month, ...)``.

    Args:
        series: Dims of ``time`` and others.
        time: Label of each step, one-dimensional, in any calendar.
    """
    months = time.dt.month
    grouped = [series.where(months == month, drop=True) for month in np.unique(months)]
    parts = [xr.Dataset({"mean": part.mean(time.dims), "deviation": part.std(time.dims)}) for part in grouped]
    return xr.concat(parts, dim="month").assign_coords(month=np.unique(months))


def box_index(field: xr.DataArray, *, latitude: tuple[float, float], longitude: tuple[float, float]) -> xr.DataArray:
    """Area mean over a box, as Niño 3.4 (5°S–5°N, 190–240°E): over its cells that are never missing.

    Args:
        field: Dims ``(latitude, longitude, ...)``, degrees.
        latitude: South and north edge.
        longitude: West and east edge, degrees east; a box across the end of the grid's longitudes is found.
    """
    west, east = longitude
    south, north = latitude
    zone = (field["latitude"] >= south) & (field["latitude"] <= north)
    inside = zone & ((field["longitude"] - west) % 360 <= (east - west) % 360)
    weights = area_weights(field).where(inside, 0.0)
    known = field.notnull().all([dim for dim in field.dims if dim not in ("latitude", "longitude")])
    return field.where(known, 0.0).weighted(weights.where(known, 0.0)).mean(("latitude", "longitude"))


def tail_quantiles(values: xr.DataArray, *, levels: Sequence[float], dims: Sequence[str]) -> xr.DataArray:
    """Quantiles far out, over ``dims``; dims ``(level, ...)``, in the units of ``values``."""
    return values.quantile(list(levels), list(dims), skipna=False).rename(quantile="level")


def joint_exceedance(first: xr.DataArray, second: xr.DataArray, *, level: float, dims: Sequence[str]) -> xr.DataArray:
    """How often the second variable is above its own quantile when the first is above its own.

    ``1 - level`` is independence, 1 is full dependence of the upper tails.

    Args:
        first: One variable.
        second: Another, same dims.
        level: Of both quantiles, 0 to 1.
        dims: What is pooled.

    Source:
        Coles, Heffernan and Tawn (1999), doi:10.1023/A:1009963131610.
    """
    high = [part > part.quantile(level, list(dims), skipna=False).drop_vars("quantile") for part in (first, second)]
    return (high[0] & high[1]).sum(list(dims)) / high[0].sum(list(dims))


def place_among(members: xr.DataArray, observed: xr.DataArray, *, member_dim: str = "member") -> xr.Dataset:
    """Where an observed diagnostic lies among the members': the share of members below it, and their 5–95 % range.

    A place near 0 or 1 says that trajectories are not like the observed one in this respect.

    Args:
        members: A diagnostic of each member, dims ``(member, ...)``.
        observed: The same of the observations, dims ``(...)``.
        member_dim: Name of the ensemble dimension.

    Returns:
        ``observed``, ``low``, ``median``, ``high`` and ``place`` (0 to 1, a tie counts half).
    """
    low, median, high = (members.quantile(q, member_dim, skipna=False, keep_attrs=True) for q in (0.05, 0.5, 0.95))
    place = (members < observed).mean(member_dim) + 0.5 * (members == observed).mean(member_dim)
    parts = {"observed": observed, "low": low, "median": median, "high": high}
    return xr.Dataset({name: part.drop_vars("quantile", errors="ignore") for name, part in parts.items()}).assign(
        place=place.where(observed.notnull() & median.drop_vars("quantile").notnull())
    )


def _circle_power(values: NDArray[np.floating]) -> NDArray[np.float64]:
    size = values.shape[-1]
    power = 2 * np.abs(rfft(values.astype(float), axis=-1)[..., 1:] / size) ** 2
    if size % 2 == 0:
        power[..., -1] /= 2  # the shortest wave has no partner
    return np.asarray(power)


def _area_power(values: NDArray[np.floating]) -> NDArray[np.float64]:
    size = values.shape[-1]
    return np.asarray(dct(values.astype(float), axis=-1, norm="ortho")[..., 1:] ** 2 / size)


def _count_spells(happens: NDArray[np.bool_], longest: int) -> NDArray[np.int64]:
    rows = happens.reshape(-1, happens.shape[-1])
    edges = np.diff(np.pad(rows, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    lengths = np.minimum(ends[:, 1] - starts[:, 1], longest)
    counts = np.zeros((len(rows), longest), dtype=np.int64)
    np.add.at(counts, (starts[:, 0], lengths - 1), 1)
    return counts.reshape(*happens.shape[:-1], longest)
