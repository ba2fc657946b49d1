"""Beyond single cells and the middle of the distribution: energy and variogram scores of tiles, CRPS of both tails.

The CRPS of each cell says nothing of whether neighbouring cells belong together, and little of extremes.
``sum_patterns`` keeps area-weighted sums of four further scores for each initial and lead time; sums of parts add up.
Lower is better, and ensembles of different size compare, but for the variogram score. A tile or cell counts where
neither the truth nor a member is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.batches import start_batches
from pipeline.judging.card_rows import Bootstrap, Row, flat, paired_skill, places
from pipeline.judging.matching import SPACE
from pipeline.judging.multivariate import energy_score, variogram_score
from pipeline.judging.scores import threshold_weighted_crps

SCORES = ("energy", "variogram", "lower_tail", "upper_tail")
TAILS = (0.1, 0.9)
"""Levels of the climate beyond which a value counts as of a tail."""
TILE = 6
"""Cells along a side of a tile: enough for a weather system or a front on the grids of this field, and cheap."""

Floats = NDArray[np.float64]


def sum_patterns(
    forecast: xr.DataArray, observation: xr.DataArray, tails: xr.DataArray, *, weights: xr.DataArray
) -> xr.Dataset:
    """Weights and weighted sums of the four scores.

    Args:
        forecast: One variable, dims ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``.
        observation: Truth, dims of ``forecast`` without ``member``, NaN where unknown.
        tails: Where the tails begin, dims ``(edge, ...)``, broadcast against ``observation``.
        weights: Area weights, dims ``(latitude, longitude)``; 0 or NaN leaves a cell out.

    Returns:
        One variable a score, dims ``(variable, [scenario], init_time, lead_time, [level], sum)``: weight, and score
        times weight, in the units of ``forecast``.
    """
    parts = []
    for few in start_batches(forecast):
        edges = tails.isel(few) if "init_time" in tails.dims else tails
        parts.append(_sum_batch(forecast.isel(few).compute(), observation.isel(few).compute(), edges, weights))
    sums = xr.concat(parts, "init_time") if len(parts) > 1 else parts[0]
    return sums.expand_dims(variable=[str(forecast.name or "value")])


def pattern_card(
    sums: Mapping[str, xr.Dataset],
    *,
    reference: str,
    lead_blocks: int | None = None,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Any]:
    """The four scores of each model, variable and lead, laid out as ``scorecard.scorecard`` lays out its own.

    Args:
        sums: From ``sum_patterns``, by the name of the model.
        reference: Name of the model that skill is measured against.
        lead_blocks: As for ``scorecard``.
        bootstrap: How intervals are drawn.

    Returns:
        ``["models"][model][variable]`` is a list of rows: each score, and its skill with an interval.
    """
    bootstrap = bootstrap or Bootstrap()
    models: dict[str, dict[str, list[Row]]] = {}
    for model, mine in sums.items():
        for about, block, place in places(mine[SCORES[0]].isel(sum=0, drop=True), lead_blocks):
            row = dict(about)
            for score in SCORES:
                own, other = (each[score].isel(place).isel(lead_time=block).values for each in (mine, sums[reference]))
                row[score], skill = paired_skill(own, None if model == reference else other, bootstrap)
                row |= flat(f"{score}_skill", skill)
            models.setdefault(model, {}).setdefault(row.pop("variable"), []).append(row)
    return {"reference": reference, **asdict(bootstrap), "tile": TILE, "tails": list(TAILS), "models": models}


def _sum_batch(members: xr.DataArray, truth: xr.DataArray, tails: xr.DataArray, weights: xr.DataArray) -> xr.Dataset:
    order = [dim for dim in members.dims if dim not in ("member", *SPACE)]
    sums = {score: np.zeros((*(members.sizes[dim] for dim in order), 2)) for score in SCORES}

    def add(name: str, score: xr.DataArray, area: Floats) -> None:
        values = score.transpose(*order, ...).values
        known = np.isfinite(values)
        for place, part in enumerate((known * area, np.where(known, values, 0.0) * area)):
            sums[name][..., place] += part.sum(axis=tuple(range(len(order), part.ndim)))

    for tile, area in _tiles(weights.where(truth.notnull().any([d for d in truth.dims if d not in SPACE]), 0.0)):
        fields, size = (members.isel(tile), truth.isel(tile)), area.values.sum()
        add("energy", energy_score(*fields, dims=SPACE, weights=area / size), size)
        add("variogram", variogram_score(*fields, dims=SPACE, weights=area / size), size)
    lower, upper = (tails.isel(edge=place, drop=True).astype(members.dtype) for place in (0, 1))
    cells = weights.fillna(0.0).transpose(*SPACE).values
    for name, low, high in (("lower_tail", -np.inf, lower), ("upper_tail", upper, np.inf)):
        add(name, threshold_weighted_crps(members, truth, lower=low, upper=high).transpose(..., *SPACE), cells)
    coords = {dim: members[dim] for dim in order if dim in members.coords}
    return xr.Dataset({score: ([*order, "sum"], values) for score, values in sums.items()}, coords)


def _tiles(area: xr.DataArray) -> Iterator[tuple[dict[str, slice], xr.DataArray]]:
    """Neighbouring tiles that cover the grid, each with the area of its cells; without those that have none."""
    for south in range(0, area.sizes["latitude"], TILE):
        for west in range(0, area.sizes["longitude"], TILE):
            tile = {"latitude": slice(south, south + TILE), "longitude": slice(west, west + TILE)}
            part = area.isel(tile).fillna(0.0)
            if int((part > 0).sum()) > 1:
                yield tile, part
