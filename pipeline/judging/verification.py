"""Statistics of an ensemble against what happened, in sums that merge: statistic(chunk) → weighted sum → finish.

``score_ensemble`` reads every member once and keeps, for each initial and lead time, area-weighted sums. Sums of
parts (tiles, initial times, workers, days) add up to those of the whole with ``merge``, so no chunking changes a
result; ``finish`` turns sums into scores. A cell counts where its weight is not zero and the observation is known; a
counted cell with a missing member enters no sum and is counted in ``missing``. A mean over nothing is NaN with
``cells`` 0. A *statistics* data set has dims ``(variable, [scenario], init_time, lead_time, [level], region)`` and
``rank`` for the histogram.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError
from pipeline.judging.field_sums import sum_starts
from pipeline.judging.kernels import SUMS
from pipeline.judging.matching import SPACE, at_valid_times, check_grid, check_labels, check_units
from pipeline.judging.scores import spread_correction
from pipeline.judging.significance import (
    FEWEST_CASES,
    block_bootstrap,
    block_length,
    bootstrap_interval,
    diebold_mariano,
)
from pipeline.periods import lead_words

Row = dict[str, Any]
Rows = Mapping[tuple[tuple[str, Any], ...], "_Cases"]
Interval = tuple[float | None, float | None, float | None, str | None]  # value, low, high, reason for what is None

_LABELS: dict[str, list[str | int]] = {"season": ["DJF", "MAM", "JJA", "SON"], "month": list(range(1, 13))}
_POOLED_LEADS = 20  # valid times pooled to a row where one initial time is all there is
_SCORES = ("crps_fair", "crps", "rmse", "bias", "spread", "anomaly_correlation", "reliability_index")
_CRPS_FAIR, _CRPS, _SQUARED_ERROR, _VARIANCE = map(SUMS.index, ("crps_fair", "crps", "squared_error", "variance"))


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


def split(statistics: xr.Dataset, *, by: Literal["season", "month", "year"]) -> xr.Dataset:
    """Statistics with a dim ``by`` that parts the cases by the season, month or year of their valid time."""
    part = getattr(statistics["valid_time"].dt, by)
    names = _LABELS.get(by) or [int(year) for year in np.unique(part)]
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


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: number of resamples, their seed, and the probability inside the interval."""

    draws: int = 1000
    seed: int = 0
    confidence: float = 0.9


def scorecard(
    statistics: Mapping[str, xr.Dataset],
    *,
    reference: str,
    lead_blocks: int | None = None,
    bootstrap: Bootstrap | None = None,
    versus_all: bool = True,
) -> dict[str, Any]:
    """What ``scorecard.json`` holds: scores with intervals for each model, variable and lead.

    Two models are compared on the cases that both hold with the same weight; the others of the model's cases are
    counted as ``unpaired``. A case is an initial time or, where fewer than ten were scored, a valid time. A skill is
    ``1 - score / the other's score``: above 0 is better. A number ``x`` with an interval has ``x_low`` and ``x_high``;
    what could not be computed is None, and ``x_reason`` says why.

    Args:
        statistics: From ``score_ensemble``, merged, by the name of the model; further dims, as of ``split``, stay.
        reference: Name of the model that skill is measured against.
        lead_blocks: Pool this many consecutive leads. By default each lead stands alone, or 20 together where there
            is but one initial time.
        bootstrap: How intervals are drawn.
        versus_all: Whether each model is compared with every other, or with the reference alone.

    Returns:
        Plain dicts, lists, strings and numbers: ``["models"][model][variable]`` is a list of rows, one for each lead
        and further dim; beside it stand ``reference`` and the settings of the bootstrap.

    Raises:
        TercileError: The reference is not among the models.
    """
    if reference not in statistics:
        raise TercileError(f"reference: {reference!r} is not among the models {sorted(statistics)}.")
    bootstrap = bootstrap or Bootstrap()
    rows = {model: _by_label(part.compute(), lead_blocks) for model, part in statistics.items()}
    models = {
        model: _model_rows(
            model, rows if versus_all else {name: rows[name] for name in (model, reference)}, reference, bootstrap
        )
        for model in rows
    }
    return {"reference": reference, **asdict(bootstrap), "models": models}


def lead_rows(dataset: xr.Dataset, lead_blocks: int | None = None) -> list[tuple[slice, Row]]:
    """Which leads a row pools, and how it names them.

    Args:
        dataset: Has the dims ``init_time`` and ``lead_time``.
        lead_blocks: As for ``scorecard``.
    """
    leads = dataset["lead_time"]
    width = lead_blocks or (_POOLED_LEADS if dataset.sizes["init_time"] == 1 else 1)
    rows: list[tuple[slice, Row]] = []
    for start in range(0, leads.size, width):
        first, last = int(leads[start]), int(leads[start : start + width][-1])
        name = f"{first}-{last}" if last > first else f"{first}"
        span = {"lead": name, "lead_first": first, "lead_last": last, "lead_units": lead_words(leads)}
        rows.append((slice(start, start + width), span))
    return rows


def places(sums: xr.DataArray, lead_blocks: int | None) -> list[tuple[Row, slice, dict[str, int]]]:
    """What each row of a card is about, its leads, and where it lies along the other dims.

    Args:
        sums: Dims ``(..., init_time, lead_time)``.
        lead_blocks: As for ``scorecard``.
    """
    dims = [str(dim) for dim in sums.dims if dim not in ("init_time", "lead_time")]
    found = []
    for block, span in lead_rows(sums.to_dataset(name="sums"), lead_blocks):
        for place in np.ndindex(*(sums.sizes[dim] for dim in dims)):
            at = dict(zip(dims, place, strict=True))
            found.append(({**{dim: sums[dim][n].item() for dim, n in at.items()}, **span}, block, at))
    return found


def paired_skill(
    own: NDArray[np.float64], other: NDArray[np.float64] | None, bootstrap: Bootstrap
) -> tuple[float | None, Interval]:
    """Mean score of one row, and its skill against another's on the cases that both have.

    Args:
        own: Weight and weighted sum of the score, ``(init_time, lead_time, 2)``.
        other: The same of the other; None where it is itself.
        bootstrap: How intervals are drawn.
    """
    weight, total = own.reshape(-1, 2).sum(axis=0)
    mean = _plain(total / weight) if weight else None
    if other is None:
        return mean, _nothing("this is the reference itself")
    paired = np.isclose(own[..., :1], other[..., :1])
    both = case_table(np.where(paired, np.concatenate([own, other], axis=-1), 0.0))
    return mean, case_interval(skill_of, both[:, [1, 3]], bootstrap)


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


def _model_rows(model: str, rows: Mapping[str, Rows], reference: str, bootstrap: Bootstrap) -> dict[str, list[Row]]:
    """The rows of one model by variable."""
    table: dict[str, list[Row]] = {}
    for label, cases in rows[model].items():
        others = {name: theirs.get(label) for name, theirs in rows.items() if name != model}
        versus = {name: _compare(cases, theirs, bootstrap) for name, theirs in others.items()}
        skill = versus.get(reference, _not_compared("this is the reference itself"))
        about = dict(label)
        variable = about.pop("variable")
        table.setdefault(variable, []).append({**about, **_scores(cases, bootstrap), **skill, "versus": versus})
    return table


@dataclass(frozen=True)
class _Cases:
    """What one row is scored on: initial times, sums ``(init_time, lead_time, SUMS)``, pooled statistics, members."""

    starts: pd.Index
    sums: NDArray[np.float64]
    pooled: xr.Dataset
    members: int


def _by_label(statistics: xr.Dataset, lead_blocks: int | None) -> Rows:
    """The cases of each row, by what the row is about."""
    dims = [dim for dim in statistics["weight"].dims if dim not in ("init_time", "lead_time")]
    ordered = statistics[list(SUMS)].to_dataarray("sum").transpose(*dims, "init_time", "lead_time", "sum").values
    rows = {}
    for block, span in lead_rows(statistics, lead_blocks):
        pooled = pool(statistics.isel(lead_time=block), ("init_time", "lead_time"))
        for place in np.ndindex(*(statistics.sizes[dim] for dim in dims)):
            one = pooled.isel(dict(zip(dims, place, strict=True)))
            about = [(name, one[name].item()) for name in [*map(str, dims), "units"] if name in one.coords]
            cases = _Cases(statistics["init_time"].to_index(), ordered[place][:, block], one, one.sizes["rank"] - 1)
            rows[*about, *span.items()] = cases
    return rows


def _scores(cases: _Cases, bootstrap: Bootstrap) -> Row:
    """Every score of one row, pooled over its cases."""
    result = finish(cases.pooled)
    corrected = spread_correction(cases.members)
    pairs = case_table(cases.sums)[:, [_VARIANCE, _SQUARED_ERROR]]
    ratio = case_interval(lambda s: np.sqrt(corrected * s[..., 0] / s[..., 1]), pairs, bootstrap)
    return {
        "members": cases.members,
        "cases": int((cases.sums[..., 0] > 0).sum()),
        "cells": int(result["cells"]),
        "missing": int(result["missing"]),
        **{name: _plain(result[name].item()) for name in _SCORES},
        **flat("spread_skill", ratio),
        "rank_histogram": [_plain(value) for value in result["rank_frequency"].values],
    }


def _compare(own: _Cases, other: _Cases | None, bootstrap: Bootstrap) -> Row:
    """Skills of one row against another model's, on the cases that both have."""
    if other is None:
        return _not_compared("the other model has no such row")
    place = other.starts.get_indexer(own.starts)
    mine, theirs = own.sums[place >= 0], other.sums[place[place >= 0]]
    paired = np.isclose(mine[..., 0], theirs[..., 0]) & (mine[..., 0] > 0)
    both = case_table(np.where(paired[..., None], np.concatenate([mine, theirs], axis=-1), 0.0))
    fair, plain = (both[:, [column, column + len(SUMS)]] for column in (_CRPS_FAIR, _CRPS))
    plain_skill = case_interval(skill_of, plain, bootstrap)
    if own.members != other.members:
        sizes = f"{own.members} and {other.members}"
        plain_skill = _nothing(f"ensembles of {sizes} members, and the plain CRPS depends on their size")
    means = fair / both[:, [0, len(SUMS)]]
    return {
        **flat("crps_skill", plain_skill),
        **flat("crps_fair_skill", case_interval(skill_of, fair, bootstrap)),
        "p_value": _plain(diebold_mariano(means[:, 0] - means[:, 1])),
        "unpaired": int((own.sums[..., 0] > 0).sum()) - int(paired.sum()),
    }


def case_table(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row for each counted case in the order of time: initial times where there are ten, else valid times.

    Args:
        sums: Dims ``(init_time, lead_time, column)``; the first column is the weight, 0 where nothing was counted.
    """
    by_start = sums.sum(axis=1)
    few = (by_start[:, 0] > 0).sum() < FEWEST_CASES
    table = sums.reshape(-1, sums.shape[-1]) if few else by_start
    return table[table[:, 0] > 0]


def case_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], table: NDArray[np.float64], bootstrap: Bootstrap
) -> Interval:
    """A function of the summed table with its interval, or the reason why there is none."""
    if not len(table):
        return _nothing("no case was counted")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = _plain(statistic(table.sum(axis=0)))
        if value is None:
            return _nothing("a division by zero: an error, a spread or a score of exactly 0")
        if len(table) < FEWEST_CASES:
            return value, None, None, f"{len(table)} cases; an interval needs {FEWEST_CASES}"
        influence = statistic(table.sum(axis=0) - table)  # of each case, by leaving it out
        length = block_length(influence) if np.isfinite(influence).all() else 1
        counts = block_bootstrap(len(table), length=length, draws=bootstrap.draws, seed=bootstrap.seed)
        low, high = bootstrap_interval(statistic, table, counts=counts, confidence=bootstrap.confidence)
    return value, _plain(low), _plain(high), None


def skill_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 - score / the other's score`` from sums ``(..., 2)`` of both."""
    return np.asarray(1 - sums[..., 0] / sums[..., 1])


def flat(name: str, interval: Interval) -> Row:
    """A value with its interval, as the columns ``name``, ``name_low``, ``name_high`` and ``name_reason``."""
    return dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_reason"), interval, strict=True))


def _nothing(reason: str) -> Interval:
    return None, None, None, reason


def _not_compared(reason: str) -> Row:
    nothing = _nothing(reason)
    return {**flat("crps_skill", nothing), **flat("crps_fair_skill", nothing), "p_value": None, "unpaired": 0}


def _plain(value: float | NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
