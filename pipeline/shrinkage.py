"""α, β and τ of one lead from its cases, shrunk as far as cases left out bear out.

The three numbers come from moments (means, variances and the covariance of ensemble mean and truth): of the area, of
each season and of each cell, the latter two held towards the area's as if that were ``shrinkage`` further cases. How
far is settled by the CRPS of folds left out, and so is whether members had better be left as they are, keep their mean
and be stretched about it alone, or go back to the climatology altogether. The area's β is further reduced by what it
scatters when parts of the record are left out: a β that is noise becomes 0.

Cases that lack the truth or a member count nowhere; a cell without any case takes the area's numbers.

Source:
    The reduction of β is the positive-part rule of Stein, as in Efron and Morris (1973),
    doi:10.1080/01621459.1973.10481350.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

SHRINKAGES = (np.inf, 1000.0, 300.0, 100.0, 30.0, 10.0)
"""Cases that the area's value stands for, from no detail at all to much of it."""

_PARTS = 10  # of the record, left out in turn to see how far β scatters
_CELLS = 500  # that are looked at when the shrinkage is chosen
_LARGEST_STRETCH = 10.0
_WORTH = 0.0005  # share of the CRPS that more detail must gain
_TRUTH, _MEAN, _TRUTH_SQUARE, _PRODUCT, _MEAN_SQUARE, _VARIANCE = range(6)


@dataclass(frozen=True)
class CaseTable:
    """Cases of one lead, or of some together, in the order of time.

    Attributes:
        mean: Anomaly of the ensemble mean, in deviations of the background, ``(case, cell)``, NaN where not known.
        variance: Of the members, likewise.
        truth: What happened, likewise.
        fold: Part of the hindcasts that each case is of, ``(case,)``.
        season: Number of its season, from 0, ``(case,)``.
        area: Weight of each cell, ``(cell,)``.
        seasons: How many are told apart.
        members: Size of the ensemble.
    """

    mean: Floats
    variance: Floats
    truth: Floats
    fold: NDArray[np.int64]
    season: NDArray[np.int64]
    area: Floats
    seasons: int
    members: int

    def select(self, rows: NDArray[Any]) -> "CaseTable":
        """Some cases."""
        return replace(
            self,
            mean=self.mean[rows],
            variance=self.variance[rows],
            truth=self.truth[rows],
            fold=self.fold[rows],
            season=self.season[rows],
        )

    def thinned(self) -> "CaseTable":
        """Every n-th cell, so that about five hundred are left."""
        step = max(1, self.area.size // _CELLS)
        cells = {name: getattr(self, name)[:, ::step] for name in ("mean", "variance", "truth")}
        return replace(self, **cells, area=self.area[::step])


@dataclass(frozen=True)
class Choice:
    """How much detail, and how much of β is left; or to keep the members as they are, or their mean.

    Attributes:
        shrinkage: Cases that the area's value stands for; infinite where it stands alone.
        reduction: Share of β that is left, 0 to 1.
        keeps: ``members`` as they are, their ``mean``, stretched about it alone, or ``nothing``.
    """

    shrinkage: float
    reduction: float
    keeps: Literal["nothing", "mean", "members"] = "nothing"


def choose(table: CaseTable) -> tuple[Choice, dict[str, float]]:
    """The choice with the least CRPS on parts of the record left out, the plainest where they tie.

    Returns:
        The choice; and its CRPS, that of the climatology and that of members as they were drawn, in deviations.
    """
    table = table.thinned()
    kept = _kept_of_beta(table)
    climatology, drawn = Choice(np.inf, 0.0), Choice(np.inf, 1.0, keeps="members")
    detailed = [Choice(shrinkage, kept) for shrinkage in SHRINKAGES]
    options = [climatology, drawn, replace(drawn, keeps="mean"), *detailed]
    scores = dict(zip(options, _left_out(table, options), strict=True))
    best = min(scores.values())
    chosen = next(option for option in options if scores[option] <= best * (1 + _WORTH))
    return chosen, {"crps": scores[chosen], "crps_climatology": scores[climatology], "crps_raw": scores[drawn]}


def fit_coefficients(table: CaseTable, choice: Choice) -> Floats:
    """α, β and τ ``(3, season, cell)``: the area's, changed by what is the season's and by what is the cell's."""
    return _coefficients(_moments(table), choice)


@dataclass(frozen=True)
class _Moments:
    """Moments within each season and cell ``(season, 6, cell)`` and the cases they rest on ``(season, cell)``."""

    values: Floats
    count: Floats
    area: Floats
    members: int

    @property
    def weight(self) -> Floats:
        """Of each season and cell in the area's mean, ``(season, 1, cell)``."""
        return (self.area * self.count)[:, None]


def _moments(table: CaseTable) -> _Moments:
    found, counts = [], []
    for season in range(table.seasons):
        rows = table.season == season
        mean, truth, variance = table.mean[rows], table.truth[rows], table.variance[rows]
        known = np.isfinite(mean)
        count = known.sum(axis=0).astype(float)
        safe = np.maximum(count, 1)
        first = [np.where(known, values, 0.0).sum(axis=0) / safe for values in (truth, mean)]
        centred = [np.where(known, values - middle, 0.0) for values, middle in zip((truth, mean), first, strict=True)]
        squares = [
            (one * other).sum(axis=0) / np.maximum(count - 1, 1)
            for one, other in combinations_with_replacement(centred, 2)
        ]
        found.append(np.stack([*first, *squares, np.where(known, variance, 0.0).sum(axis=0) / safe]))
        counts.append(np.where(count > 1, count, 0.0))
    return _Moments(np.stack(found), np.stack(counts), table.area, table.members)


def _held(own: Floats, count: Floats, towards: Floats, shrinkage: float) -> Floats:
    """Moments with ``shrinkage`` further cases like ``towards``; those moments alone where there is no case."""
    if np.isinf(shrinkage):
        return np.broadcast_to(towards, own.shape)
    return (count * own + shrinkage * towards) / (count + shrinkage)


def _pooled(moments: Floats, weight: Floats, axis: int) -> Floats:
    """Weighted mean of moments along seasons (axis 0) or cells (the last one)."""
    return np.asarray((moments * weight).sum(axis=axis) / np.maximum(weight.sum(axis=axis), 1e-30))


def _coefficients(moments: _Moments, choice: Choice) -> Floats:
    if choice.keeps == "members":
        return np.broadcast_to(np.array([0.0, 1.0, 1.0])[:, None, None], (3, *moments.count.shape))
    weight, count = moments.weight, moments.count
    by_season, by_cell = _pooled(moments.values, weight, 2), _pooled(moments.values, count[:, None], 0)
    whole = _pooled(by_season, weight.sum(axis=2), 0)
    cases = weight.sum(axis=2) / moments.area.sum()
    seasons = _held(by_season, cases, whole, choice.shrinkage).T
    cells = _held(by_cell, count.sum(axis=0), whole[:, None], choice.shrinkage)
    one, season, cell = (_solve(part, moments.members, choice) for part in (whole[:, None], seasons, cells))
    season, cell = season[..., None], cell[:, None]
    alpha = season[0] + cell[0] - one[0]
    beta, tau = season[1:] * cell[1:] / np.maximum(one[1:, :, None], 1e-12)
    return np.stack([alpha, beta, np.minimum(tau, _LARGEST_STRETCH)])


def _solve(moments: Floats, members: int, choice: Choice) -> Floats:
    """α, β and τ ``(3, ...)`` of moments ``(6, ...)``."""
    if choice.keeps == "mean":
        beta, bias = np.ones_like(moments[_MEAN]), moments[_TRUTH] - moments[_MEAN]
        alpha = np.zeros_like(bias)
    else:
        beta = choice.reduction * np.maximum(moments[_PRODUCT], 0.0) / np.maximum(moments[_MEAN_SQUARE], 1e-12)
        alpha, bias = moments[_TRUTH] - beta * moments[_MEAN], 0.0
    error = moments[_TRUTH_SQUARE] - 2 * beta * moments[_PRODUCT] + beta**2 * moments[_MEAN_SQUARE] + bias**2
    variance = (members + 1) / members * np.maximum(moments[_VARIANCE], 1e-12)
    return np.stack([alpha, beta, np.sqrt(np.maximum(error, 0.0) / variance)])


def _kept_of_beta(table: CaseTable) -> float:
    """The share of the area's β that is no noise."""
    rows = np.array_split(np.arange(len(table.fold)), min(_PARTS, len(table.fold)))
    left = np.array([_area_beta(table.select(np.delete(np.arange(len(table.fold)), part))) for part in rows])
    scatter = (len(rows) - 1) / len(rows) * ((left - left.mean()) ** 2).sum()
    whole = _area_beta(table)
    return float(max(0.0, 1 - scatter / whole**2)) if whole > 0 else 0.0


def _area_beta(table: CaseTable) -> float:
    moments = _moments(table)
    whole = _pooled(_pooled(moments.values, moments.weight, 2), moments.weight.sum(axis=2), 0)
    return float(whole[_PRODUCT] / max(whole[_MEAN_SQUARE], 1e-12))


def _left_out(table: CaseTable, options: Sequence[Choice]) -> list[float]:
    """Mean CRPS of each option on each fold, of what was learnt without it."""
    rows = np.arange(len(table.fold))
    folds = np.unique(table.fold)
    inside = [table.fold == number for number in folds]
    if len(inside) < 2:
        inside = [np.isin(rows, part) for part in np.array_split(rows, 5)]
    sums = np.zeros((len(options), 2))
    for part in inside:
        judged, learnt = table.select(part), _moments(table.select(~part))
        sums += [_score(judged, _coefficients(learnt, option)) for option in options]
    return list(sums[:, 0] / sums[:, 1])


def _score(table: CaseTable, coefficients: Floats) -> tuple[float, float]:
    """Area-weighted sum of a normal law's CRPS, and the weight it was summed over."""
    alpha, beta, tau = coefficients[:, table.season]
    spread = np.maximum(tau * np.sqrt(table.variance), 1e-6)
    z = (table.truth - alpha - beta * table.mean) / spread
    crps = spread * (z * (2 * ndtr(z) - 1) + (np.sqrt(2) * np.exp(-(z**2) / 2) - 1) / np.sqrt(np.pi))
    known = np.isfinite(crps)
    return float((np.where(known, crps, 0.0) @ table.area).sum()), float((known @ table.area).sum())
