"""Statistics of an ensemble against what happened, in sums that merge: statistic(chunk) → weighted sum → finish.

``score_ensemble`` reads every member once and keeps, for each initial and lead time, area-weighted sums. Sums of
parts (tiles, initial times, workers, days) add up to those of the whole with ``merge``, so no chunking changes a
result; ``finish`` turns sums into scores. A cell counts where its weight is not zero and the observation is known; a
counted cell with a missing member enters no sum and is counted in ``missing``. A mean over nothing is NaN with
``cells`` 0. A *statistics* data set has dims ``(variable, [scenario], init_time, lead_time, [level], region)`` and
``rank`` for the histogram.
"""

from collections.abc import Collection, Hashable
from functools import reduce
from typing import Literal

import numpy as np
import xarray as xr

from pipeline.errors import TercileError
from pipeline.judging.field_sums import sum_starts
from pipeline.judging.kernels import SUMS
from pipeline.judging.matching import SPACE, at_valid_times, check_grid, check_labels, check_units
from pipeline.judging.scores import spread_correction

_SEASONS = ("DJF", "MAM", "JJA", "SON")


def score_ensemble(
    forecast: xr.DataArray,
    observation: xr.DataArray,
    *,
    weights: xr.DataArray,
    climatology: xr.DataArray | None = None,
) -> xr.Dataset:
    """Sums of the contract's statistics over the area, for each initial and lead time.

    Fair and plain CRPS, squared error and error of the mean, variance, rank histogram and, with a climatology, the
    three products of an anomaly correlation, all in one pass over the members. It is computed now, a few initial times
    at once, so that neither members nor task graphs pile up.

    Args:
        forecast: One variable of an ensemble, dims ``([scenario], init_time, lead_time, member, [level], latitude,
            longitude)`` with the coordinate ``valid_time(init_time, lead_time)``.
        observation: Truth in the units of ``forecast``, dims ``(time, ...)``, matched by its label, or already
            ``(init_time, lead_time, ...)``. A valid time that it lacks counts no cells.
        weights: Area weights, dims ``([region], latitude, longitude)``; 0 or NaN leaves a cell out.
        climatology: What anomalies are taken from, dims as ``observation``.

    Returns:
        Statistics; ``weight`` and ``cells`` are what was summed over, ``missing`` what lacked a member.

    Raises:
        TercileError: One member, another grid, units or calendar, or no valid time that was observed.
    """
    _check_forecast(forecast, observation, weights)
    forecast = forecast.assign_coords(valid_time=forecast["valid_time"].compute())
    truth = _by_start(observation, forecast, what="observation")
    normal = None if climatology is None else _by_start(climatology, forecast, what="climatology")
    sums = sum_starts(forecast, truth, normal, _by_region(weights)).assign_coords(_kept_coords(forecast, weights))
    statistics = xr.Dataset({name: sums.isel(statistic=i) for i, name in enumerate(SUMS)})
    statistics["rank_weight"] = sums.isel(statistic=slice(len(SUMS), None)).rename(statistic="rank")
    name = str(forecast.name or "value")
    units = forecast.attrs.get("units", observation.attrs.get("units", ""))
    return statistics.expand_dims(variable=[name]).assign_coords(units=("variable", [units]))


def merge(*statistics: xr.Dataset) -> xr.Dataset:
    """Add the sums of disjoint parts: other initial times, tiles, regions, variables or scenarios.

    Parts that cover the same cells and times would count them twice; that cannot be seen from sums.

    Raises:
        TercileError: None given, or ensembles of different size, whose sums are not of one thing.
    """
    if not statistics:
        raise TercileError("statistics: nothing to merge.")
    sizes = {part.sizes["rank"] - 1 for part in statistics}
    if len(sizes) > 1:
        raise TercileError(f"statistics: come from ensembles of {sorted(sizes)} members; score one size at a time.")
    return reduce(_add, statistics)


def pool(statistics: xr.Dataset, over: Collection[Hashable]) -> xr.Dataset:
    """Sum the statistics over dims, as ``("init_time",)`` for scores by lead."""
    return statistics.sum(over, skipna=False)


def split(statistics: xr.Dataset, *, by: Literal["season", "year"]) -> xr.Dataset:
    """Statistics with a dim ``by`` that parts the cases by the season or year of their valid time."""
    part = getattr(statistics["valid_time"].dt, by)
    names = list(_SEASONS) if by == "season" else [int(year) for year in np.unique(part)]
    parts = [statistics.where(part == name, 0.0) for name in names]
    return xr.concat(parts, dim=xr.DataArray(names, dims=by, name=by), coords="minimal", compat="override")


def finish(statistics: xr.Dataset) -> xr.Dataset:
    """Scores from sums; pool first over what shall be averaged.

    Returns:
        ``crps_fair``, ``crps``, ``rmse``, ``bias``, ``spread`` in the variable's units; ``spread_skill`` (1 for a
        reliable ensemble), ``anomaly_correlation``, ``rank_frequency(rank)`` and ``reliability_index`` (0 is flat)
        as numbers; ``cells`` and ``missing`` as counts. NaN where nothing was counted.

    Source:
        Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1, for spread and skill; Delle Monache et al. (2006),
        doi:10.1029/2005JD006917, for the reliability index.
    """
    weight = statistics["weight"].where(statistics["weight"] > 0)
    mean = statistics[["crps_fair", "crps", "squared_error", "error", "variance"]] / weight
    bins = statistics.sizes["rank"]
    frequency = statistics["rank_weight"] / weight
    square = statistics["forecast_square"] * statistics["observation_square"]
    corrected = spread_correction(bins - 1) * mean["variance"]
    return xr.Dataset(
        {
            "crps_fair": mean["crps_fair"],
            "crps": mean["crps"],
            "rmse": np.sqrt(mean["squared_error"]),
            "bias": mean["error"],
            "spread": np.sqrt(mean["variance"]),
            "spread_skill": np.sqrt(corrected / mean["squared_error"].where(mean["squared_error"] > 0)),
            "anomaly_correlation": statistics["product"] / np.sqrt(square.where(square > 0)),
            "rank_frequency": frequency,
            "reliability_index": abs(frequency - 1 / bins).sum("rank", skipna=False),
            "cells": statistics["cells"],
            "missing": statistics["missing"],
        }
    )


def _by_start(observation: xr.DataArray, forecast: xr.DataArray, *, what: str) -> xr.DataArray:
    """The observation by initial and lead time, NaN where a valid time is not in it, and checked to fit."""
    if "time" in observation.dims:
        met = np.flatnonzero(np.isin(observation["time"].values, forecast["valid_time"].values))
        if met.size:  # read each of them once, not once a start
            observation = observation.isel(time=met).load()
        observation = at_valid_times(observation, forecast["valid_time"], what=what)
    check_labels(observation, forecast, what=what)
    return observation


def _by_region(weights: xr.DataArray) -> xr.DataArray:
    wide = weights if "region" in weights.dims else weights.expand_dims("region")
    return wide.transpose("region", *SPACE).astype(float).fillna(0.0)


def _kept_coords(forecast: xr.DataArray, weights: xr.DataArray) -> dict[Hashable, xr.DataArray]:
    own = ("member", *SPACE, "bnds")
    kept = {name: coord.compute() for name, coord in forecast.coords.items() if not set(coord.dims) & set(own)}
    named = weights["region"] if "region" in weights.coords else xr.DataArray(["all"], dims="region")
    return {**kept, "region": named}


def _add(first: xr.Dataset, second: xr.Dataset) -> xr.Dataset:
    times = [part.coords["valid_time"] for part in (first, second)]
    units = [part.coords["units"] for part in (first, second)]
    bare = [part.drop_vars([n for n in part.coords if n not in part.indexes]) for part in (first, second)]
    left, right = xr.align(*bare, join="outer", fill_value=0.0)
    both = {"valid_time": times[0].combine_first(times[1]), "units": units[0].combine_first(units[1])}
    return (left + right).assign_coords(both)


def _check_forecast(forecast: xr.DataArray, observation: xr.DataArray, weights: xr.DataArray) -> None:
    needed = ("init_time", "lead_time", "member", *SPACE)
    lacking = [name for name in needed if name not in forecast.dims] + ["valid_time"] * (
        "valid_time" not in forecast.coords
    )
    if lacking:
        raise TercileError(
            f"forecast: lacks {lacking}; it has dims {forecast.dims} and coords {list(forecast.coords)}."
        )
    if forecast.sizes["member"] < 2:
        raise TercileError("forecast: has one member; a distribution needs at least two.")
    check_grid(observation, forecast, what="observation")
    check_grid(weights, forecast, what="weights")
    check_units(observation, forecast)
