"""The scorecard: scores of models from their statistics, each with an interval, and each model against the others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError
from pipeline.judging.card_rows import (
    Bootstrap,
    Row,
    case_interval,
    case_table,
    flat,
    lead_rows,
    no_interval,
    number_or_none,
    skill_of,
)
from pipeline.judging.kernels import SUMS
from pipeline.judging.scores import spread_correction
from pipeline.judging.significance import diebold_mariano
from pipeline.judging.verification import finish, pool

Rows = Mapping[tuple[tuple[str, Any], ...], "_Cases"]

_SCORES = ("crps_fair", "crps", "rmse", "bias", "spread", "anomaly_correlation", "reliability_index")
_CRPS_FAIR, _CRPS, _SQUARED_ERROR, _VARIANCE = map(SUMS.index, ("crps_fair", "crps", "squared_error", "variance"))


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
        **{name: number_or_none(result[name].item()) for name in _SCORES},
        **flat("spread_skill", ratio),
        "rank_histogram": [number_or_none(value) for value in result["rank_frequency"].values],
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
        plain_skill = no_interval(f"ensembles of {sizes} members, and the plain CRPS depends on their size")
    means = fair / both[:, [0, len(SUMS)]]
    return {
        **flat("crps_skill", plain_skill),
        **flat("crps_fair_skill", case_interval(skill_of, fair, bootstrap)),
        "p_value": number_or_none(diebold_mariano(means[:, 0] - means[:, 1])),
        "unpaired": int((own.sums[..., 0] > 0).sum()) - int(paired.sum()),
    }


def _not_compared(reason: str) -> Row:
    nothing = no_interval(reason)
    return {**flat("crps_skill", nothing), **flat("crps_fair_skill", nothing), "p_value": None, "unpaired": 0}
