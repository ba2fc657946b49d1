"""Ranked probability score for ordered categories: terciles, quintiles, or any edges.

The members count as their own probabilities; a value equal to an edge belongs to the lower category. NaN propagates.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pipeline.errors import TercileError
from pipeline.judging.scores import brier_ensemble

TERCILES = (1 / 3, 2 / 3)
QUINTILES = (0.2, 0.4, 0.6, 0.8)


def category_edges(climate: xr.DataArray, *, levels: Sequence[float] = TERCILES, dim: str = "time") -> xr.DataArray:
    """Limits between equally meant categories, the quantiles of a reference climate.

    Take the reference years at the same time of year, and never the years that are judged. NaN propagates.

    Args:
        climate: Dims ``(dim, ...)``.
        levels: Of the quantiles, increasing, between 0 and 1.
        dim: What the quantiles are taken over.

    Returns:
        Dims ``(edge, ...)``, in the units of ``climate``.

    Raises:
        TercileError: Levels that do not increase within 0 to 1.
    """
    _check_increasing(np.asarray(levels))
    edges = climate.quantile(list(levels), dim, skipna=False, keep_attrs=True)
    return edges.rename(quantile="edge")


def category_probabilities(forecast: xr.DataArray, *, edges: xr.DataArray, member_dim: str = "member") -> xr.DataArray:
    """Share of members in each category, dims ``(category, ...)``, from the lowest category up; they add up to 1.

    Args:
        forecast: Members, dims ``(member, ...)``.
        edges: Limits, dims ``(edge, ...)``, in the units of ``forecast``.
        member_dim: Name of the ensemble dimension.
    """
    below = _below(forecast, edges).mean(member_dim, skipna=False)
    known = below.isel(edge=0, drop=True).notnull()
    bounds = [xr.zeros_like(known, float).where(known), *(below.isel(edge=k) for k in range(below.sizes["edge"]))]
    upper = [*bounds[1:], xr.ones_like(known, float).where(known)]
    parts = [(high - low).drop_vars("edge", errors="ignore") for low, high in zip(bounds, upper, strict=True)]
    return xr.concat(parts, dim="category", coords="minimal", compat="override")


def rps_ensemble(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    edges: xr.DataArray,
    member_dim: str = "member",
    fair: bool = True,
) -> xr.DataArray:
    """Ranked probability score of ordered categories (lower is better): Brier scores summed over the edges.

    Args:
        forecast: Members, dims ``(member, ...)``.
        observation: Truth, dims ``(...)``, in the units of ``forecast``.
        edges: Limits between categories, dims ``(edge, ...)``, increasing; from ``category_edges``.
        member_dim: Name of the ensemble dimension.
        fair: Unbiased for the distribution behind the members; otherwise the score of the members' own distribution.

    Returns:
        Score at each point, 0 to the number of edges.

    Raises:
        TercileError: ``edges`` without the dim ``edge``; and as in ``scores.crps_ensemble``.

    Source:
        Epstein (1969); Ferro (2014), eq. 6, doi:10.1002/qj.2270, for the fair score.
    """
    happens, happened = _below(forecast, edges), _below(observation, edges)
    score = brier_ensemble(happens, happened, member_dim=member_dim, fair=fair).sum("edge", skipna=False)
    return score.rename("fair RPS" if fair else "RPS").assign_attrs(units="1")


def skill_score(score: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """``1 - score / reference`` of two mean scores: 1 is perfect, 0 no better; NaN where the reference is 0.

    Average first, as ``rps.weighted(area).mean()``: the mean of ratios is not the ratio of means.
    """
    return 1 - score / reference.where(reference != 0)


def _below(values: xr.DataArray, edges: xr.DataArray) -> xr.DataArray:
    if "edge" not in edges.dims:
        raise TercileError(f"edges: has dims {edges.dims}, no 'edge'; use category_edges.")
    return (values <= edges).where(values.notnull() & edges.notnull()).drop_attrs()


def _check_increasing(levels: np.ndarray) -> None:
    if not (levels.size and (np.diff(levels) > 0).all() and 0 < levels[0] and levels[-1] < 1):
        raise TercileError(f"levels: got {levels.tolist()}; they must increase between 0 and 1.")
