"""Calibration: the α, β and τ of ``pipeline.member_by_member``, learnt on hindcasts.

Each lead is looked at together with a shorter and a longer one; ``pipeline.shrinkage`` makes three numbers of their
cases. A hindcast is to be calibrated by what was learnt without its fold, a forecast by what all hindcasts say.

Hindcasts come from fits on fewer years than the forecasts do, and err more. In its own record a background's anomalies
have variance one, elsewhere more, and that excess falls as one over the years: forecasts are stretched by that much
less. It is what matters where a record is short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.background import forward
from pipeline.batches import start_batches
from pipeline.errors import TercileError
from pipeline.member_by_member import season_count
from pipeline.shrinkage import CaseTable, Choice, choose, fit_coefficients

Floats = NDArray[np.float64]

VERSION = 6
"""Raised when a change of this module, or of the shrinkage, changes what is learnt."""

COEFFICIENTS = ("alpha", "beta", "tau")
FEWEST_STARTS = 5


@dataclass(frozen=True)
class Learnt:
    """A calibration of one variable.

    Attributes:
        coefficients: α, β and τ in deviations of the background, dims ``(coefficient, fold, lead_time, season, [level],
            latitude, longitude)``. Fold -1 is learnt on all hindcasts, fold *n* without those of fold *n*. One lead
            stands for all where leads were learnt together; one season where a step is a year.
        summary: For each lead what forecasts get over the area, as plain numbers.
    """

    coefficients: xr.DataArray
    summary: list[dict[str, Any]]


def summarise(
    ensemble: xr.DataArray,
    expected: xr.DataArray,
    deviation: xr.DataArray,
    observation: xr.DataArray,
    *,
    transform: str = "none",
) -> xr.Dataset:
    """Mean, variance and truth of each case, as anomalies in deviations of the background; read a few starts at a time.

    Args:
        ensemble: Members, ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``, physical units.
        expected: Of the background, the same dims without ``member``, transformed units.
        deviation: Likewise.
        observation: What happened, the same dims, physical units, NaN where it is not known.
        transform: Of the variable: ``none``, ``sqrt`` or ``log``.

    Returns:
        ``mean``, ``variance`` (unbiased) and ``truth``; NaN where one is missing.
    """
    parts = [
        _summary(*(part.isel(few).load() for part in (ensemble, expected, deviation, observation)), transform=transform)
        for few in start_batches(ensemble)
    ]
    return xr.concat(parts, "init_time").transpose(*expected.dims)


def _summary(
    ensemble: xr.DataArray,
    expected: xr.DataArray,
    deviation: xr.DataArray,
    observation: xr.DataArray,
    *,
    transform: str,
) -> xr.Dataset:
    anomaly, truth = (
        (part.copy(data=forward(part.values, transform)) - expected) / deviation for part in (ensemble, observation)
    )
    cases = xr.Dataset(
        {
            "mean": anomaly.mean("member", skipna=False),
            "variance": anomaly.var("member", ddof=1, skipna=False),
            "truth": truth,
        }
    )
    return cases.where(cases["mean"].notnull() & cases["truth"].notnull()).astype("float32")


def fit_calibration(
    cases: xr.Dataset,
    *,
    weights: xr.DataArray,
    fold: NDArray[np.int64],
    season: xr.DataArray,
    members: int,
    pool_leads: bool,
    seen: float,
) -> Learnt:
    """Learn the calibration of one variable.

    Args:
        cases: From ``summarise``, ``([scenario], init_time, lead_time, [level], latitude, longitude)``, in memory; the
            units of ``lead_time`` tell whether there are seasons.
        weights: Area weights ``(latitude, longitude)``.
        fold: Fold of each initial time.
        season: Number of the season of each case, from 0, ``(init_time, lead_time)``.
        members: Size of the ensemble that was summarised, and of the ones to be calibrated.
        pool_leads: Learn all leads together, as in a projection, whose leads are years that have nothing in common.
        seen: Share of the forecasts' fit, in steps of the record, that a hindcast's fit has seen.

    Raises:
        TercileError: Fewer initial times than five, or no case with a known truth.
    """
    starts = cases.sizes["init_time"]
    if not pool_leads and starts < FEWEST_STARTS:
        raise TercileError(f"calibration: {starts} hindcasts are too few, at least {FEWEST_STARTS} are needed.")
    if not bool(cases["truth"].notnull().any()):
        raise TercileError("calibration: no hindcast has met its truth; are the hindcast years in the archive?")
    space = [dim for dim in ("level", "latitude", "longitude") if dim in cases.dims]
    shape = [cases.sizes[dim] for dim in space]
    area = np.broadcast_to(weights.values, shape).ravel()
    folds = np.unique(fold)
    seasons = season_count(cases["lead_time"])
    found: list[Floats] = []
    summary: list[dict[str, Any]] = []
    numbers = cases["lead_time"].values
    every = list(range(numbers.size))
    groups = [(every, every)] if pool_leads else [([lead], _neighbours(lead, numbers.size)) for lead in every]
    for own, leads in groups:
        table = _table(cases.isel(lead_time=leads), fold, season.isel(lead_time=leads), area, seasons, members, space)
        parts = [table, *(table.select(table.fold != number) for number in folds)]
        choices = [choose(part) for part in parts]
        kept = [fit_coefficients(part, choice) for part, (choice, _) in zip(parts, choices, strict=True)]
        narrower = _narrower(table, seen)
        kept[0] = kept[0] * np.array([1.0, 1.0, narrower])[:, None, None]
        found.append(np.stack(kept, axis=1))
        ends = {"lead_first": int(numbers[own[0]]), "lead_last": int(numbers[own[-1]])}
        summary.append(_told(table, *choices[0], narrower) | ends)
    values = np.stack(found, axis=2).reshape(len(COEFFICIENTS), 1 + len(folds), len(found), seasons, *shape)
    dims = ("coefficient", "fold", "lead_time", "season", *space)
    coords = {"coefficient": list(COEFFICIENTS), "fold": np.concatenate([[-1], folds])}
    return Learnt(xr.DataArray(values.astype("float32"), dims=dims, coords=coords), summary)


def expected_crps(summary: Sequence[Mapping[str, Any]]) -> float:
    """Mean CRPS to be expected of forecasts, in deviations of the background, from the rows of summaries.

    It is that of the hindcasts less what their fits on fewer years add, so that models whose folds leave out much of
    the record, as those of networks do, may be compared with models whose folds leave out little.
    """
    return float(np.mean([row["crps"] * row["narrower"] for row in summary]))


def _neighbours(lead: int, count: int) -> list[int]:
    """Leads that one is learnt from, by position: itself, and those a third of it earlier and later.

    Skill fades smoothly, and ever more slowly. What lies between them would add little: errors of neighbouring leads
    of one start are nearly the same.
    """
    reach = (lead + 1) // 3
    return [near for near in sorted({lead - reach, lead, lead + reach}) if 0 <= near < count]


def _table(
    cases: xr.Dataset,
    fold: NDArray[np.int64],
    season: xr.DataArray,
    area: Floats,
    seasons: int,
    members: int,
    space: Sequence[str],
) -> CaseTable:
    order = [dim for dim in ("init_time", "lead_time", "scenario") if dim in cases.dims]
    flat = {name: cases[name].transpose(*order, *space).values.reshape(-1, area.size).astype(float) for name in cases}
    label = xr.DataArray(fold, dims="init_time")
    numbers = [
        one.broadcast_like(cases["mean"]).isel(dict.fromkeys(space, 0))
        for one in (label, season.reset_coords(drop=True))
    ]
    fold_of, season_of = (one.transpose(*order).values.ravel() for one in numbers)
    return CaseTable(flat["mean"], flat["variance"], flat["truth"], fold_of, season_of, area, seasons, members)


def _narrower(table: CaseTable, seen: float) -> float:
    """What the whole record leaves of an error's deviation among fits that have seen a share of it."""
    known = np.isfinite(table.truth)
    excess = float((np.where(known, table.truth, 0.0) ** 2 @ table.area).sum() / (known @ table.area).sum()) - 1.0
    return float(np.sqrt((1.0 + seen * excess) / (1.0 + excess))) if excess > 0 else 1.0


def _told(table: CaseTable, choice: Choice, scores: dict[str, float], narrower: float) -> dict[str, Any]:
    """What forecasts get, over the area, in numbers for people; τ is what is applied, so ``narrower`` is in it."""
    whole = fit_coefficients(table, replace(choice, shrinkage=np.inf))
    alpha, beta, tau = (float(values.mean()) for values in whole)
    return {
        "alpha": alpha,
        "beta": beta,
        "tau": tau * narrower,
        "narrower": narrower,
        "beta_kept": choice.reduction,
        "keeps": choice.keeps,
        "shrinkage": None if np.isinf(choice.shrinkage) else choice.shrinkage,
        "cases": int(np.isfinite(table.mean).any(axis=1).sum()),
        **scores,
    }
