"""One pass over the members, a few starts and leads at a time: every part gives its sums, and nothing else is kept.

Parts are read whole and scored by one kernel. Dask's bookkeeping for the tiles of a store took longer than both.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.judging.kernels import sum_statistics
from pipeline.judging.matching import SPACE

_BATCH_BYTES = 2**24  # of members, held at once


def sum_starts(
    forecast: xr.DataArray, truth: xr.DataArray, normal: xr.DataArray | None, weights: xr.DataArray
) -> xr.DataArray:
    """Sums over the area for each initial time, lead time and whatever else there is.

    Args:
        forecast: Members, dims ``(..., init_time, lead_time, ..., member, latitude, longitude)``.
        truth: Dims of ``forecast`` without ``member``, or some of them.
        normal: What anomalies are taken from, as ``truth``, or none.
        weights: Dims ``(region, latitude, longitude)``.

    Returns:
        Dims ``(..., init_time, lead_time, ..., region, statistic)``: the columns of ``kernels.sum_statistics``.
    """
    forecast = forecast.transpose("init_time", "lead_time", ..., "member", *SPACE)
    starts, leads = forecast.sizes["init_time"], forecast.sizes["lead_time"]
    fields = max(1, _BATCH_BYTES * starts * leads // max(forecast.nbytes, 1))  # of a start and lead, in a batch
    width, depth = max(1, fields // leads), min(leads, fields)
    rows = []
    for first in range(0, starts, width):
        parts = []
        for lead in range(0, leads, depth):
            batch = {"init_time": slice(first, first + width), "lead_time": slice(lead, lead + depth)}
            parts.append(_sum_batch(forecast.isel(batch).compute(), truth, normal, weights, batch))
        rows.append(np.concatenate(parts, axis=1))
    dims = [dim for dim in forecast.dims if dim not in ("member", *SPACE)]
    return xr.DataArray(np.concatenate(rows), dims=[*dims, "region", "statistic"])


def _sum_batch(
    members: xr.DataArray,
    truth: xr.DataArray,
    normal: xr.DataArray | None,
    weights: xr.DataArray,
    batch: dict[str, slice],
) -> NDArray[np.float64]:
    """Sums of one batch, ``(init_time, lead_time, ..., region, statistic)``."""
    shape, size = members.shape[:-3], members.shape[-3]
    values = np.ascontiguousarray(members.values).reshape(-1, size, weights[0].size)
    template = members.isel(member=0, drop=True)
    observed = _like(template, truth, batch)
    usual = np.full_like(observed, np.nan) if normal is None else _like(template, normal, batch)
    area = weights.values.reshape(len(weights), -1)
    sums = np.array([sum_statistics(f, y, c, area) for f, y, c in zip(values, observed, usual, strict=True)])
    return sums.reshape(*shape, *sums.shape[1:])


def _like(template: xr.DataArray, field: xr.DataArray, batch: dict[str, slice]) -> NDArray[np.floating]:
    """A field's part of the batch, repeated along the dims that it lacks, ``(field, cell)``."""
    own = field.isel({dim: part for dim, part in batch.items() if dim in field.dims}).reset_coords(drop=True)
    missing = {dim: template.sizes[dim] for dim in template.dims if dim not in own.dims}
    values = own.expand_dims(missing).transpose(*template.dims).values
    return np.ascontiguousarray(values).reshape(-1, template.sizes["latitude"] * template.sizes["longitude"])
