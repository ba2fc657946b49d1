"""The track record of a question: the same event, replayed on every stored hindcast, against what happened.

Hindcasts are laid on the steps of the forecast that is asked (:mod:`pipeline.answers.hindcasts`), at the same leads;
missing data leave a case out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.climate import Usual
from pipeline.answers.evaluate import evaluate
from pipeline.answers.extent import span_of_all
from pipeline.answers.hindcasts import LEAST_YEARS, in_batches, laid_out, members_of_starts, nearby_starts
from pipeline.answers.probability import LEAST_GIVEN, Inquiry
from pipeline.answers.trajectories import Need, Trajectories, cut
from pipeline.errors import TercileError
from pipeline.events.tree import Expression, Question
from pipeline.judging.matching import at_valid_times
from pipeline.judging.significance import block_bootstrap, block_length, bootstrap_interval

Array = NDArray[Any]
Floats = NDArray[np.float64]

_FOLD = re.compile(r"(-?\d+)-(\d+)-gap(\d+)")
LEAST_CASES = 5


@dataclass(frozen=True)
class Cases:
    """What was said and what happened, one row for each start and a column for each sample of an ``each`` window.

    On a map two axes follow, latitude and longitude; :meth:`at` gives the cases of one cell.

    Attributes:
        rows: Which hindcasts, ``(start,)``.
        steps: How many steps later in the year than the forecast each began, ``(start,)``.
        share: Share of members with the event, ``(start, sample)``; NaN where too many are unknown.
        members: How many members that is a share of, same shape.
        outcome: 1, 0, or NaN where not known or not what was asked about, same shape.
    """

    rows: Array
    steps: Array
    share: Floats
    members: Floats
    outcome: Floats

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cases that can be judged."""
        return ~(np.isnan(self.share) | np.isnan(self.outcome))

    def at(self, row: int, column: int) -> Cases:
        """The cases of one cell of a map."""
        fields = (field[..., row, column] for field in (self.share, self.members, self.outcome))
        return Cases(self.rows, self.steps, *fields)


@dataclass
class _Truth:
    """What happened, each region of it read once."""

    data: xr.Dataset
    _held: dict[object, xr.DataArray] = field(default_factory=dict)

    def members(self, name: str, hindcasts: xr.Dataset, need: Need) -> Array:
        """The record at the hindcasts' valid times as their one member, NaN where a fit has seen it."""
        key = (name, None if need.cells is None else need.cells.region)
        if key not in self._held:
            self._held[key] = cut(self.data[name], need.cells).load()
        some = hindcasts[["valid_time", "unseen"]].isel(lead_time=slice(need.start, need.stop))
        found = at_valid_times(self._held[key], some["valid_time"], what="record").where(some["unseen"])
        return np.asarray(found.transpose("init_time", "lead_time", ...).values)[:, np.newaxis]


def replay(
    inquiry: Inquiry, *, hindcasts: xr.Dataset, truth: xr.Dataset, folds: Sequence[str] = (), level: float
) -> dict[str, Any]:
    """Judge a ``prob`` question by the hindcasts.

    Args:
        inquiry: The question before the forecast that is asked; its thresholds and regions are used again.
        hindcasts: Dims ``(init_time, lead_time, member, latitude, longitude)``, on the forecast's grid and cadence.
        truth: What happened, dims ``(time, latitude, longitude)``, same grid.
        folds: By number, the years that a fold's fit left out and the steps beside them: ``1950-1961-gap12``. What lies
            outside was seen by the fit and judges nothing.
        level: Coverage of the interval.

    Returns:
        The ``skill`` of an answer: ``verdict`` and, where it was measured, the fair Brier skill score against the
        leave-one-out base rate with its interval, the reliability, and ``past``, a row for each start.
    """
    try:
        need = Need(None, 0, inquiry.timeline.size)
        cases = cases_of(inquiry, need, hindcasts=hindcasts, truth=truth, folds=folds).at(0, 0)
    except TercileError as error:
        return not_measured(str(error))
    years = hindcasts["init_time"].dt.year.values[cases.rows]
    found: dict[str, Any] = {
        **_numbers(cases, years),
        "pooled": _pooled(cases, inquiry),
        "past": _past(cases, hindcasts),
    }
    why = too_few(cases, years)
    if why:
        return {**not_measured(why), **found}
    return {**score(cases, years, level=level), **_reliability(cases, level), **found}


def cases_of(inquiry: Inquiry, need: Need, *, hindcasts: xr.Dataset, truth: xr.Dataset, folds: Sequence[str]) -> Cases:
    """What the hindcasts said of a question and what happened, at the cells that are needed.

    Raises:
        TercileError: The hindcasts or the record cannot say.
    """
    first, last = span_of_all(inquiry.question.parts, inquiry.timeline)
    if last > hindcasts.sizes["lead_time"]:
        raise TercileError(
            f"The question looks to lead {last}, and the hindcasts end at lead {hindcasts.sizes['lead_time']}."
        )
    hindcasts = hindcasts.assign_coords(unseen=(("init_time", "lead_time"), unseen_leads(hindcasts, folds)))
    record = _Truth(truth)
    rows, later = nearby_starts(hindcasts, inquiry.timeline)
    reach = (later < last) & (later + hindcasts.sizes["lead_time"] > first)
    if not reach.any():
        raise TercileError("No hindcast that starts near this time of year reaches the window.")
    rows, later = rows[reach], later[reach]
    size = {"members": hindcasts.sizes["member"], "steps": last - first}
    batches = in_batches(rows.size, inquiry.members, need, **size)
    parts = [_cases(inquiry, need, hindcasts, record, rows[batch], later[batch]) for batch in batches]
    return Cases(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def not_measured(reason: str) -> dict[str, Any]:
    """A verdict that there is none, and why."""
    return {"verdict": "not_measured", "reason": reason}


def unseen_leads(hindcasts: xr.Dataset, folds: Sequence[str]) -> NDArray[np.bool_]:
    """Leads whose truth no fit has seen, ``(init_time, lead_time)``: within the fold's years or the gap after them."""
    year = hindcasts["valid_time"].dt.year.values
    unseen = np.ones(year.shape, dtype=bool)
    for row, number in enumerate(hindcasts["fold"].values if folds else ()):
        first, last, gap = (int(part) for part in _FOLD.fullmatch(folds[int(number)]).groups())  # type: ignore[union-attr]
        inside = np.flatnonzero((year[row] >= first) & (year[row] <= last))
        unseen[row, (inside[-1] if inside.size else -1) + 1 + gap :] = False
    return unseen


def fair_brier(share: Floats, outcome: Floats, members: Floats) -> Floats:
    """Brier score of each case less what the finite number of members adds to it (lower is better).

    Source:
        Ferro (2014), doi:10.1002/qj.2270.
    """
    return np.asarray((share - outcome) ** 2 - share * (1 - share) / (members - 1))


def _cases(inquiry: Inquiry, need: Need, hindcasts: xr.Dataset, truth: _Truth, rows: Array, steps: Array) -> Cases:
    """The event in each member of some hindcasts, and in what happened."""
    some = hindcasts.isel(init_time=rows)
    said = laid_out(inquiry.members, steps, lambda name, need: members_of_starts(some[name], need))
    seen = laid_out(inquiry.members, steps, lambda name, need: truth.members(name, some, need))
    years = some["init_time"].dt.year.values
    usual = inquiry.climate if inquiry.model is None else inquiry.model.judging(years)
    event, known = _answered(inquiry.question, need, said, usual, (rows.size, -1))
    outcome, is_known = _answered(inquiry.question, need, seen, inquiry.climate, (rows.size, 1))
    considered = known.sum(axis=1)
    enough = considered >= (2 if inquiry.question.given is None else LEAST_GIVEN)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(enough, (event & known).sum(axis=1) / considered, np.nan)
    return Cases(rows, steps, share, considered.astype(float), np.where(is_known, outcome, np.nan)[:, 0])


def _answered(
    question: Question, need: Need, at: Trajectories, usual: Usual, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Whether the event came true, and whether that is known and asked about: ``(start, member, sample, …)``."""

    def closed(node: Expression) -> tuple[Array, Array]:
        value = evaluate(node, need, at, usual)
        return value.low[0], ~value.unknown[0]

    event, known = closed(question.subject)
    if question.given is not None:
        met, is_met = closed(question.given)
        known = known & met & is_met
    return event.reshape(*shape, *event.shape[1:]), known.reshape(*shape, *known.shape[1:])


def score(cases: Cases, years: Array, *, level: float) -> dict[str, Any]:
    """Skill against the leave-one-out base rate, with its interval by blocks of starts."""
    known = cases.known
    total, events = known.sum(), np.where(known, cases.outcome, 0).sum()
    own = np.where(known, cases.outcome, 0).sum(axis=1, keepdims=True)
    usual = (events - own) / (total - known.sum(axis=1, keepdims=True))
    brier = fair_brier(cases.share, cases.outcome, cases.members)
    sums = np.stack([np.where(known, part, 0).sum(axis=1) for part in (brier, (usual - cases.outcome) ** 2)], axis=1)[
        known.any(axis=1)
    ]
    in_year = int(np.unique(years[known.any(axis=1)], return_counts=True)[1].max())
    length = max(block_length(sums[:, 0] - sums[:, 1]), min(in_year, len(sums)))
    low, high = bootstrap_interval(_skill, sums, counts=_resamples(len(sums), length), confidence=level)
    return {
        "verdict": "skilful" if low > 0 else "worse_than_climatology" if high < 0 else "no_evidence",
        "score": "fair_brier_skill",
        "value": float(_skill(sums.sum(axis=0))),
        "low": low,
        "high": high,
        "level": level,
        "brier": float(sums[:, 0].sum() / total),
        "base_rate": float(events / total),
        "reference": "leave-one-out base rate",
        "block": length,
    }


@lru_cache(maxsize=64)
def _resamples(cases: int, length: int) -> Floats:
    """The same resamples for every cell of a map."""
    return block_bootstrap(cases, length=length)


def _skill(sums: Floats) -> Floats:
    return np.asarray(1 - sums[..., 0] / sums[..., 1])


def _reliability(cases: Cases, level: float) -> dict[str, Any]:
    """How often it came true for each share of members, and the slope of that line (1 is reliable)."""
    from pipeline.judging.reliability import reliability, tabulate

    share, outcome = cases.share[cases.known], cases.outcome[cases.known]
    spread = float(share.var())
    table = tabulate(xr.DataArray(share), xr.DataArray(outcome))
    curve = reliability(table, independent=float(cases.known.any(axis=1).sum()), draws=200, confidence=level)
    columns = {"said": "probability", "happened": "recalibrated", "band_low": "band_low", "band_high": "band_high"}
    return {
        "reliability_slope": float(np.cov(share, outcome, ddof=0)[0, 1] / spread) if spread > 0 else None,
        "resolution": float(curve["discrimination"]),
        "reliability": {name: curve[of].values.round(4).tolist() for name, of in columns.items()}
        | {"cases": curve["cases"].values.astype(int).tolist()},
    }


def _pooled(cases: Cases, inquiry: Inquiry) -> dict[str, Any] | None:
    """Which neighbouring starts were taken in and reach far enough to judge, if any."""
    judged = cases.steps[cases.known.any(axis=1)]
    if not judged.any():
        return None
    return {"steps_later": sorted({int(step) for step in judged}), "unit": inquiry.timeline.unit}


def _past(cases: Cases, hindcasts: xr.Dataset) -> list[dict[str, Any]]:
    """What was said and what happened, a row for each start and sample that can be judged."""
    starts = hindcasts["init_time"].values
    return [
        {
            "init_time": str(starts[row])[:10],
            "share": round(float(cases.share[place, sample]), 4),
            "happened": bool(cases.outcome[place, sample]),
        }
        for place, row in enumerate(cases.rows)
        for sample in np.flatnonzero(cases.known[place])
    ]


def _numbers(cases: Cases, years: Array) -> dict[str, Any]:
    """How many cases there are."""
    judged = cases.known.any(axis=1)
    return {
        "hindcasts": int(judged.sum()),
        "events": int((cases.outcome[cases.known] == 1).sum()),
        "cases": int(cases.known.sum()),
        "years": [int(years[judged].min()), int(years[judged].max())] if judged.any() else None,
    }


def too_few(cases: Cases, years: Array) -> str | None:
    """Why these cases cannot carry a score."""
    found = _numbers(cases, years)
    starts = np.unique(years[cases.known.any(axis=1)]).size
    if starts < LEAST_YEARS:
        noun = "year" if starts == 1 else "years"
        return f"The hindcasts judge this question in {starts} start {noun}; at least {LEAST_YEARS} are needed."
    if min(found["events"], found["cases"] - found["events"]) < LEAST_CASES:
        return (
            f"Of {found['cases']} past cases {found['events']} had the event; at least {LEAST_CASES} with and "
            f"{LEAST_CASES} without are needed."
        )
    return None
