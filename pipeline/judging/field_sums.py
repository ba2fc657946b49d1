"""One pass over the members in Dask's blocks: every block gives its sums, and the sums of blocks are added.

Nothing is kept but the sums, and initial times are taken a few at a time: memory does not grow with their number.
"""

from collections.abc import Hashable

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.judging.kernels import SUMS, sum_statistics
from pipeline.judging.matching import SPACE

_BLOCK_BYTES = 2**25  # of members, in a task
_BATCH_BYTES = 2**27  # of members, in one computation


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
    starts = forecast.sizes["init_time"]
    width = max(1, _BATCH_BYTES * starts // max(forecast.nbytes, 1))
    parts = []
    for first in range(0, starts, width):
        batch = {"init_time": slice(first, first + width)}
        members = _in_blocks(forecast.isel(batch))
        fields = [_like(members, part.isel(batch)) for part in (truth, normal) if part is not None]
        parts.append(np.asarray(_sum_blocks(members, fields, weights)))
    lead_dims = [dim for dim in members.dims if dim not in ("member", *SPACE)]
    return xr.DataArray(np.concatenate(parts, lead_dims.index("init_time")), dims=[*lead_dims, "region", "statistic"])


def _in_blocks(forecast: xr.DataArray) -> xr.DataArray:
    """Lazy, space last, members in one chunk, and small tiles merged: a task costs as much as scoring a megabyte."""
    ordered = forecast.transpose(..., "member", *SPACE)
    step = int(np.prod([max(sizes) for sizes in ordered.chunks[:-3]])) if ordered.chunks else 1
    fields = ordered.dtype.itemsize * int(np.prod(ordered.shape[-3:]))
    merged = ("member", *SPACE) if fields * step <= _BLOCK_BYTES else ("member",)
    chunks: dict[Hashable, int] = dict.fromkeys(merged, -1)
    if ordered.chunks is None:
        chunks = {"init_time": max(1, _BLOCK_BYTES * ordered.sizes["init_time"] // max(ordered.nbytes, 1))}
    return ordered.copy(data=ordered.variable.chunk(chunks).data)


def _like(members: xr.DataArray, field: xr.DataArray) -> da.Array:
    """A field in the members' order of dims and chunks, repeated along the dims that it lacks."""
    template = members.isel(member=0, drop=True)
    shared = {dim: sizes for dim, sizes in template.variable.chunksizes.items() if dim in field.dims}
    added = {dim: template.sizes[dim] for dim in template.dims if dim not in field.dims}
    bare = field.reset_coords(drop=True).chunk(shared)
    return bare.expand_dims(added).transpose(*template.dims).data


def _sum_blocks(members: xr.DataArray, fields: list[da.Array], weights: xr.DataArray) -> da.Array:
    """Sums of every chunk, added over space; dims are the forecast's leading ones, region, statistic."""
    lead = tuple(range(members.ndim - 3))
    member, south, west, region, statistic = range(10, 15)
    chunks = members.variable.chunksizes
    area = da.from_array(weights.values, chunks=(-1, chunks["latitude"], chunks["longitude"]))
    arrays = [(members.data, (*lead, member, south, west)), (area, (region, south, west))]
    arrays += [(field, (*lead, south, west)) for field in fields]
    parts = da.blockwise(
        _sum_block,
        (*lead, south, west, region, statistic),
        *[part for pair in arrays for part in pair],
        new_axes={statistic: len(SUMS) + members.sizes["member"] + 1},
        adjust_chunks={south: 1, west: 1},
        concatenate=True,
        dtype=float,
        meta=np.empty((0,) * (len(lead) + 4)),
    )
    return parts.sum(axis=(-4, -3)).rechunk(-1)


def _sum_block(
    members: NDArray[np.floating],
    weights: NDArray[np.float64],
    truth: NDArray[np.floating],
    normal: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Sums of one chunk, ``(..., member, latitude, longitude)`` to ``(..., 1, 1, region, statistic)``."""
    lead, size = members.shape[:-3], members.shape[-3]
    fields = np.ascontiguousarray(members).reshape(-1, size, weights[0].size)
    observed = np.ascontiguousarray(truth).reshape(len(fields), -1)
    usual = np.full_like(observed, np.nan) if normal is None else np.ascontiguousarray(normal).reshape(observed.shape)
    area = weights.reshape(len(weights), -1)
    sums = np.array([sum_statistics(f, y, c, area) for f, y, c in zip(fields, observed, usual, strict=True)])
    return sums.reshape(*lead, 1, 1, *sums.shape[1:])
