"""Calibration, member by member: ``x' = α + β·mean + τ·(x − mean)``, learnt on hindcasts and applied on reading.

It works on anomalies from the background, in units of its deviation, so that an ensemble without skill (β near 0)
goes back to the climatology and not to some other state. Each member stays one coherent trajectory: its anomaly from
the mean is only stretched. Members are coupled by their mean; judge them on the plain CRPS.

For each lead, looked at together with a shorter and a longer one, the three numbers come from moments (means,
variances and the covariance of ensemble mean and truth): of the area, of each season and of each cell, the latter two
held towards the area's as if that were ``shrinkage`` further cases. How far is settled by the CRPS of hindcast years
left out, and so is whether members had better be left as they are, keep their mean and be stretched about it alone, or
go back to the climatology altogether. The area's β is further reduced by what it scatters when parts of the record are
left out: a β that is noise becomes 0.

Hindcasts come from fits on fewer years than the forecasts do, and err more. In its own record a background's anomalies
have variance one, elsewhere more, and that excess falls as one over the years: forecasts are stretched by that much
less. It is what matters where a record is short.

Cases that lack the truth or a member count nowhere; a cell without any case takes the area's numbers.

Source:
    Van Schaeybroeck and Vannitsem (2015), doi:10.1002/qj.2397, for member-by-member calibration; the reduction of β is
    the positive-part rule of Stein, as in Efron and Morris (1973), doi:10.1080/01621459.1973.10481350.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.background import backward, forward
from pipeline.errors import TercileError

Floats = NDArray[np.float64]

VERSION = 6
"""Raised when a change of this module changes what is learnt."""

COEFFICIENTS = ("alpha", "beta", "tau")
SHRINKAGES = (np.inf, 1000.0, 300.0, 100.0, 30.0, 10.0)
"""Cases that the area's value stands for, from no detail at all to much of it."""

FEWEST_STARTS = 5
_PARTS = 10  # of the record, left out in turn to see how far β scatters
_BATCH_BYTES = 2**27  # of members, held at once
_CELLS = 500  # that are looked at when the shrinkage is chosen
_LARGEST_STRETCH = 10.0
_ROUNDING = 1e-5  # share of the expected state below which a calibrated root is nothing but rounding
_WORTH = 0.0005  # share of the CRPS that more detail must gain
_TRUTH, _MEAN, _TRUTH_SQUARE, _PRODUCT, _MEAN_SQUARE, _VARIANCE = range(6)


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
    starts = ensemble.sizes["init_time"]
    width = max(1, _BATCH_BYTES * starts // max(ensemble.nbytes, 1))
    batches = ({"init_time": slice(first, first + width)} for first in range(0, starts, width))
    parts = [
        _summary(*(part.isel(few).load() for part in (ensemble, expected, deviation, observation)), transform=transform)
        for few in batches
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
    seasons = _seasons(cases["lead_time"])
    found: list[Floats] = []
    summary: list[dict[str, Any]] = []
    numbers = cases["lead_time"].values
    every = list(range(numbers.size))
    groups = [(every, every)] if pool_leads else [([lead], _neighbours(lead, numbers.size)) for lead in every]
    for own, leads in groups:
        table = _table(cases.isel(lead_time=leads), fold, season.isel(lead_time=leads), area, seasons, members, space)
        parts = [table, *(table.select(table.fold != number) for number in folds)]
        choices = [_choose(part) for part in parts]
        kept = [_coefficients(_moments(part), choice) for part, (choice, _) in zip(parts, choices, strict=True)]
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


def calibrate(
    ensemble: xr.DataArray,
    expected: xr.DataArray,
    deviation: xr.DataArray,
    coefficients: xr.DataArray,
    *,
    fold: NDArray[np.int64],
    season: xr.DataArray,
    transform: str = "none",
) -> xr.DataArray:
    """The calibrated members, lazily, laid out as the raw ones.

    Args:
        ensemble: Members, ``([scenario], init_time, lead_time, member, [level], latitude, longitude)``, physical units.
        expected: Of the background, the same dims without ``member``, transformed units.
        deviation: Likewise.
        coefficients: From ``fit_calibration``.
        fold: Of each initial time; -1 for a forecast. A hindcast gets what was learnt without its fold.
        season: Number of the season of each case, ``(init_time, lead_time)``.
        transform: Of the variable: ``none``, ``sqrt`` or ``log``.
    """
    rows = {int(number): row for row, number in enumerate(coefficients["fold"].values)}
    which = xr.DataArray([rows[int(number)] for number in fold], dims="init_time")
    plain = coefficients.drop_vars(["coefficient", "fold"])
    if plain.chunks is None:
        plain = plain.chunk()
    learnt = ["coefficient", "fold", "learnt_lead", "season"]
    calibrated = xr.apply_ufunc(
        _stretch,
        ensemble.chunk(lead_time=-1, member=-1),
        expected.chunk(lead_time=-1),
        deviation.chunk(lead_time=-1),
        plain.rename(lead_time="learnt_lead").chunk(dict.fromkeys(learnt, -1)),
        which,
        season.drop_vars(list(season.coords)),
        kwargs={"transform": transform},
        input_core_dims=[["lead_time", "member"], ["lead_time"], ["lead_time"], learnt, [], ["lead_time"]],
        output_core_dims=[["lead_time", "member"]],
        dask="parallelized",
        output_dtypes=["float32"],
        keep_attrs=True,
    )
    return calibrated.transpose(*ensemble.dims).assign_attrs(ensemble.attrs)


def _stretch(
    members: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    coefficients: NDArray[Any],
    fold: NDArray[Any],
    season: NDArray[Any],
    *,
    transform: str,
) -> NDArray[np.float32]:
    """One block: members ``(..., lead, member)``, coefficients ``(..., 3, fold, lead, season)``, fold ``(...)``."""
    _, _, leads, seasons = coefficients.shape[-4:]
    lead = np.minimum(np.arange(members.shape[-2]), leads - 1)
    index = ((fold[..., None] * leads + lead) * seasons + season)[..., None, :]
    flat = coefficients.reshape(*coefficients.shape[:-3], -1)
    flat = flat.reshape(*[1] * (index.ndim - flat.ndim), *flat.shape)
    picked = np.moveaxis(np.take_along_axis(flat, index, axis=-1), -2, 0)[..., None]
    background = expected[..., None], deviation[..., None]
    mean, apart = departures(members, *background, member_axis=-1, transform=transform)
    return stretched(mean, apart, *background, picked, transform=transform)


def departures(
    members: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    *,
    member_axis: int,
    transform: str,
    stored: NDArray[np.bool_] | bool = True,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The anomaly of the ensemble mean, and how far each member lies from it, in deviations of the background.

    Args:
        members: Physical units; the other arrays are of length one along ``member_axis``.
        expected: Of the background, transformed units.
        deviation: Likewise.
        member_axis: The axis of members.
        transform: Of the variable: ``none``, ``sqrt`` or ``log``.
        stored: Which members there are, while a run still goes on: the mean is theirs.
    """
    apart = (forward(members, transform) - expected) / deviation
    mean = apart.mean(axis=member_axis, keepdims=True, dtype=np.float64, where=stored).astype(apart.dtype)
    apart -= mean
    return mean, apart


def stretched(
    mean: NDArray[Any],
    apart: NDArray[Any],
    expected: NDArray[Any],
    deviation: NDArray[Any],
    coefficients: NDArray[Any],
    *,
    transform: str,
) -> NDArray[np.float32]:
    """Members from :func:`departures`, calibrated, in physical units.

    Args:
        mean: Anomaly of the ensemble mean, in deviations; all but ``apart`` are of length one along its members.
        apart: Each member's departure from it.
        expected: Of the background, transformed units.
        deviation: Likewise.
        coefficients: α, β and τ, ``(3, ...)``.
        transform: Of the variable.
    """
    alpha, beta, tau = coefficients
    made = apart * (tau * deviation)
    made += (alpha + beta * mean) * deviation + expected
    if transform == "sqrt":  # what was dry and is left as it was stays dry
        made[made < _ROUNDING * expected] = 0.0
    return np.asarray(backward(made, transform), dtype="float32")


def season_numbers(ensemble: xr.Dataset) -> xr.DataArray:
    """Number of the season of each valid time, ``(init_time, lead_time)``: 0 is December to February, and so on.

    All 0 where a lead is a year or longer.
    """
    month = ensemble["valid_time"].dt.month
    quarters = (month % 12) // 3
    return quarters if _seasons(ensemble["lead_time"]) > 1 else xr.zeros_like(quarters)


def _seasons(lead_time: xr.DataArray) -> int:
    """How many seasons are told apart; forecasts may fall in one that no hindcast has met."""
    return 1 if lead_time.attrs.get("units") == "years" else 4


@dataclass(frozen=True)
class _Table:
    """Cases of one lead (or of all) in the order of time: ``mean, variance, truth`` are ``(case, cell)``."""

    mean: Floats
    variance: Floats
    truth: Floats
    fold: NDArray[np.int64]
    season: NDArray[np.int64]
    area: Floats
    seasons: int
    members: int

    def select(self, rows: NDArray[Any]) -> "_Table":
        """Some cases."""
        return replace(
            self,
            mean=self.mean[rows],
            variance=self.variance[rows],
            truth=self.truth[rows],
            fold=self.fold[rows],
            season=self.season[rows],
        )

    def thinned(self) -> "_Table":
        """Every n-th cell, so that about five hundred are left."""
        step = max(1, self.area.size // _CELLS)
        cells = {name: getattr(self, name)[:, ::step] for name in ("mean", "variance", "truth")}
        return replace(self, **cells, area=self.area[::step])


def _table(
    cases: xr.Dataset,
    fold: NDArray[np.int64],
    season: xr.DataArray,
    area: Floats,
    seasons: int,
    members: int,
    space: Sequence[str],
) -> _Table:
    order = [dim for dim in ("init_time", "lead_time", "scenario") if dim in cases.dims]
    flat = {name: cases[name].transpose(*order, *space).values.reshape(-1, area.size).astype(float) for name in cases}
    label = xr.DataArray(fold, dims="init_time")
    numbers = [
        one.broadcast_like(cases["mean"]).isel(dict.fromkeys(space, 0))
        for one in (label, season.reset_coords(drop=True))
    ]
    fold_of, season_of = (one.transpose(*order).values.ravel() for one in numbers)
    return _Table(flat["mean"], flat["variance"], flat["truth"], fold_of, season_of, area, seasons, members)


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


def _moments(table: _Table) -> _Moments:
    found, counts = [], []
    for season in range(table.seasons):
        rows = table.season == season
        mean, truth, variance = table.mean[rows], table.truth[rows], table.variance[rows]
        known = np.isfinite(mean)
        count = known.sum(axis=0).astype(float)
        safe = np.maximum(count, 1)
        first = [np.where(known, values, 0.0).sum(axis=0) / safe for values in (truth, mean)]
        centred = [np.where(known, values - middle, 0.0) for values, middle in zip((truth, mean), first, strict=True)]
        squares = [(one * other).sum(axis=0) / np.maximum(count - 1, 1) for one, other in _pairs(*centred)]
        found.append(np.stack([*first, *squares, np.where(known, variance, 0.0).sum(axis=0) / safe]))
        counts.append(np.where(count > 1, count, 0.0))
    return _Moments(np.stack(found), np.stack(counts), table.area, table.members)


def _pairs(truth: Floats, mean: Floats) -> list[tuple[Floats, Floats]]:
    return [(truth, truth), (truth, mean), (mean, mean)]


def _held(own: Floats, count: Floats, towards: Floats, shrinkage: float) -> Floats:
    """Moments with ``shrinkage`` further cases like ``towards``; those moments alone where there is no case."""
    if np.isinf(shrinkage):
        return np.broadcast_to(towards, own.shape)
    return (count * own + shrinkage * towards) / (count + shrinkage)


def _pooled(moments: Floats, weight: Floats, axis: int) -> Floats:
    """Weighted mean of moments along seasons (axis 0) or cells (the last one)."""
    return np.asarray((moments * weight).sum(axis=axis) / np.maximum(weight.sum(axis=axis), 1e-30))


def _coefficients(moments: _Moments, choice: "_Choice") -> Floats:
    """α, β and τ ``(3, season, cell)``: the area's, changed by what is the season's and by what is the cell's."""
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


def _solve(moments: Floats, members: int, choice: "_Choice") -> Floats:
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


@dataclass(frozen=True)
class _Choice:
    """How much detail, and how much of β is left; or to keep the members as they are, or their mean."""

    shrinkage: float
    reduction: float
    keeps: Literal["nothing", "mean", "members"] = "nothing"


def _choose(table: _Table) -> tuple[_Choice, dict[str, float]]:
    """The choice with the least CRPS on parts of the record left out, the plainest where they tie."""
    table = table.thinned()
    kept = _kept_of_beta(table)
    climatology, drawn = _Choice(np.inf, 0.0), _Choice(np.inf, 1.0, keeps="members")
    detailed = [_Choice(shrinkage, kept) for shrinkage in SHRINKAGES]
    options = [climatology, drawn, replace(drawn, keeps="mean"), *detailed]
    scores = dict(zip(options, _left_out(table, options), strict=True))
    best = min(scores.values())
    chosen = next(option for option in options if scores[option] <= best * (1 + _WORTH))
    return chosen, {"crps": scores[chosen], "crps_climatology": scores[climatology], "crps_raw": scores[drawn]}


def _kept_of_beta(table: _Table) -> float:
    """The share of the area's β that is no noise."""
    rows = np.array_split(np.arange(len(table.fold)), min(_PARTS, len(table.fold)))
    left = np.array([_area_beta(table.select(np.delete(np.arange(len(table.fold)), part))) for part in rows])
    scatter = (len(rows) - 1) / len(rows) * ((left - left.mean()) ** 2).sum()
    whole = _area_beta(table)
    return float(max(0.0, 1 - scatter / whole**2)) if whole > 0 else 0.0


def _area_beta(table: _Table) -> float:
    moments = _moments(table)
    whole = _pooled(_pooled(moments.values, moments.weight, 2), moments.weight.sum(axis=2), 0)
    return float(whole[_PRODUCT] / max(whole[_MEAN_SQUARE], 1e-12))


def _left_out(table: _Table, options: Sequence[_Choice]) -> list[float]:
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


def _score(table: _Table, coefficients: Floats) -> tuple[float, float]:
    """Area-weighted sum of a normal law's CRPS, and the weight it was summed over."""
    alpha, beta, tau = coefficients[:, table.season]
    spread = np.maximum(tau * np.sqrt(table.variance), 1e-6)
    z = (table.truth - alpha - beta * table.mean) / spread
    crps = spread * (z * (2 * ndtr(z) - 1) + (np.sqrt(2) * np.exp(-(z**2) / 2) - 1) / np.sqrt(np.pi))
    known = np.isfinite(crps)
    return float((np.where(known, crps, 0.0) @ table.area).sum()), float((known @ table.area).sum())


def _narrower(table: _Table, seen: float) -> float:
    """What the whole record leaves of an error's deviation among fits that have seen a share of it."""
    known = np.isfinite(table.truth)
    excess = float((np.where(known, table.truth, 0.0) ** 2 @ table.area).sum() / (known @ table.area).sum()) - 1.0
    return float(np.sqrt((1.0 + seen * excess) / (1.0 + excess))) if excess > 0 else 1.0


def _told(table: _Table, choice: _Choice, scores: dict[str, float], narrower: float) -> dict[str, Any]:
    """What forecasts get, over the area, in numbers for people; τ is what is applied, so ``narrower`` is in it."""
    whole = _coefficients(_moments(table), replace(choice, shrinkage=np.inf))
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
