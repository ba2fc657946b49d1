"""Below, near and above normal: what share of the members said so, and how often it came true.

``count_terciles`` tabulates, for each initial and lead time, the area by the number of members in the outer thirds, and
where it happened; tables of parts add up. Every score of the shares follows from them: the ranked probability score
is the sum of the two Brier scores. A cell counts where its weight is not zero and no member and no truth is missing.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.batches import start_batches
from pipeline.judging.card_rows import Bootstrap, Row, flat, number_or_none, paired_skill, places
from pipeline.judging.matching import SPACE
from pipeline.judging.reliability import relative_economic_value, reliability

CATEGORIES = ("below", "above")
COST_LOSS = (0.1, 0.2, 1 / 3, 0.5, 2 / 3, 0.8)
"""Cost of protection over the loss it prevents, for which the value of acting on the shares is given."""

Floats = NDArray[np.float64]


def count_terciles(
    forecast: xr.DataArray, observation: xr.DataArray, edges: xr.DataArray, *, weights: xr.DataArray
) -> xr.Dataset:
    """Area by the number of members below and above normal, and how much of it was below and above.

    Args:
        forecast: One variable, dims ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``.
        observation: Truth, dims of ``forecast`` without ``member``, NaN where unknown.
        edges: Lower and upper limit of the middle third, dims ``(edge, ...)``, broadcast against ``observation``.
        weights: Area weights, dims ``(latitude, longitude)``; 0 or NaN leaves a cell out.

    Returns:
        ``weight`` and ``events``, dims ``(variable, [scenario], init_time, lead_time, [level], category, count)``.
    """
    parts = []
    for few in start_batches(forecast):
        limits = edges.isel(few) if "init_time" in edges.dims else edges
        parts.append(_count(forecast.isel(few), observation.isel(few).compute(), limits.compute(), weights))
    counts = xr.concat(parts, "init_time") if len(parts) > 1 else parts[0]
    return counts.expand_dims(variable=[str(forecast.name or "value")])


def tercile_card(
    counts: Mapping[str, xr.Dataset],
    *,
    reference: str,
    lead_blocks: int | None = None,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Any]:
    """Scores of the shares for each model, variable and lead, laid out as ``scorecard.scorecard`` lays out its own.

    Args:
        counts: From ``count_terciles``, by the name of the model.
        reference: Name of the model that RPS skill is measured against.
        lead_blocks: As for ``scorecard``.
        bootstrap: How intervals are drawn.

    Returns:
        ``["models"][model][variable]`` is a list of rows: ``rps``, ``rpss`` with its interval, and for ``below`` and
        ``above`` the Brier score in its parts, the ROC area, the base rate and the relative economic value.
    """
    bootstrap = bootstrap or Bootstrap()
    rps = {model: _rps(part) for model, part in counts.items()}
    models: dict[str, dict[str, list[Row]]] = {}
    for model, part in counts.items():
        for about, block, place in places(rps[model].isel(sum=0), lead_blocks):
            own = rps[model].isel(place).isel(lead_time=block).values
            other = rps[reference].isel(place).isel(lead_time=block).values
            mean, skill = paired_skill(own, None if model == reference else other, bootstrap)
            row = {**about, "cases": int((own[..., 0] > 0).sum()), "rps": mean, **flat("rpss", skill)}
            table = part.isel(place).isel(lead_time=block).sum(("init_time", "lead_time"))
            row |= {name: _category(table.sel(category=name)) for name in CATEGORIES}
            models.setdefault(model, {}).setdefault(row.pop("variable"), []).append(row)
    return {"reference": reference, **asdict(bootstrap), "cost_loss": list(COST_LOSS), "models": models}


def share_table(counts: xr.Dataset) -> xr.Dataset | None:
    """A table of stated shares and outcomes as ``reliability`` takes it; None where nothing was counted.

    Args:
        counts: ``weight`` and ``events`` along ``count`` alone: select and sum first.
    """
    stated = counts.assign_coords(probability=("count", np.arange(counts.sizes["count"]) / (counts.sizes["count"] - 1)))
    used = stated.isel(count=np.flatnonzero(counts["weight"].values > 0))
    if not used.sizes["count"]:
        return None
    return used.swap_dims(count="probability").assign(cases=lambda table: table["weight"])


def _count(forecast: xr.DataArray, truth: xr.DataArray, edges: xr.DataArray, weights: xr.DataArray) -> xr.Dataset:
    lower, upper = (edges.isel(edge=place, drop=True).astype(forecast.dtype) for place in (0, 1))
    known = forecast.notnull().all("member")
    area = weights.fillna(0.0).where(known & truth.notnull() & lower.notnull() & upper.notnull(), 0.0)
    said = ((forecast < lower).sum("member"), (forecast > upper).sum("member"))
    happened = (truth < lower, truth > upper)
    size = forecast.sizes["member"] + 1
    rows = [_tabulate(*xr.broadcast(*pair, area), size) for pair in zip(said, happened, strict=True)]
    return xr.concat(rows, xr.Variable("category", list(CATEGORIES))).transpose(..., "category", "count")


def _tabulate(said: xr.DataArray, happened: xr.DataArray, area: xr.DataArray, size: int) -> xr.Dataset:
    """Weights by count of one category; all dims but space stay."""
    dims = [dim for dim in said.dims if dim not in SPACE]
    shape = [said.sizes[dim] for dim in dims]
    flat_said, flat_happened, flat_area = (
        part.transpose(*dims, *SPACE).values.reshape(int(np.prod(shape)), -1) for part in (said, happened, area)
    )
    place = (flat_said + size * np.arange(len(flat_said))[:, None]).ravel()
    tables = {
        name: (
            [*dims, "count"],
            np.bincount(place, values.ravel(), size * len(flat_said)).reshape(*shape, size),
        )
        for name, values in {"weight": flat_area, "events": flat_area * flat_happened}.items()
    }
    coords = {name: coord for name, coord in said.coords.items() if not set(coord.dims) & set(SPACE)}
    return xr.Dataset(tables, coords=coords)


def _rps(counts: xr.Dataset) -> xr.DataArray:
    """Weight and weighted sum of the ranked probability score of each case, dims ``(..., sum)``."""
    share = xr.DataArray(np.arange(counts.sizes["count"]) / (counts.sizes["count"] - 1), dims="count")
    misses = counts["events"] * (1 - share) ** 2 + (counts["weight"] - counts["events"]) * share**2
    weight = counts["weight"].isel(category=0, drop=True).sum("count")
    return xr.concat([weight, misses.sum(("category", "count"))], "sum").transpose(..., "init_time", "lead_time", "sum")


def _category(counts: xr.Dataset) -> Row | None:
    """Brier score in its parts, ROC area and value of one category."""
    table = share_table(counts)
    if table is None:
        return None
    scores = reliability(table, draws=1)
    names = ("brier", "miscalibration", "discrimination", "uncertainty", "base_rate", "roc_area")
    row: Row = {name: number_or_none(scores[name].item()) for name in names}
    has_both = 0 < row["base_rate"] < 1
    value = relative_economic_value(table, np.array(COST_LOSS)).values if has_both else [np.nan] * len(COST_LOSS)
    return row | {"value": [number_or_none(one) for one in value]}
