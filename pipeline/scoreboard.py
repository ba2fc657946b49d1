"""Reading ``scorecard.json``: the one place that knows its layout, and what its numbers allow one to say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Verdict = Literal["better", "worse", "open", "unknown"]


@dataclass(frozen=True)
class Score:
    """One cell of a scorecard: a model on a variable, under a scenario, at a lead.

    Attributes:
        model: Name in the experiment.
        variable: Short name.
        scenario: Name, or an empty text in an unforced system.
        lead: Lead or block of valid years, as text.
        skill: CRPS skill against the reference, its low and high end; NaN where not known.
        crps: Plain CRPS, in the variable's units.
        crps_fair: Fair CRPS, in the variable's units.
        rmse: Of the ensemble mean, in the variable's units.
        spread_skill: 1 for a reliable ensemble.
        cases: How many cases were scored.
        ranks: Counts or frequencies by rank; empty where not known.
    """

    model: str
    variable: str
    scenario: str
    lead: str
    skill: tuple[float, float, float]
    crps: float
    crps_fair: float
    rmse: float
    spread_skill: float
    cases: int
    ranks: tuple[float, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether the interval of the skill lies above zero, below, or on both sides."""
        value, low, high = self.skill
        if not np.isfinite(value):
            return "unknown"
        return "better" if low > 0 else "worse" if high < 0 else "open"


def read_scores(scorecard: Mapping[str, Any]) -> list[Score]:
    """All cells of a scorecard, in its order; an empty scorecard has none."""
    return [
        _score(model, variable, row)
        for model, variables in scorecard.get("models", {}).items()
        for variable, rows in variables.items()
        for row in rows
    ]


def tally(scores: Sequence[Score]) -> dict[Verdict, int]:
    """How many cells have each verdict."""
    return {verdict: sum(score.verdict == verdict for score in scores) for verdict in ("better", "worse", "open", "unknown")}


def pooled_ranks(scores: Sequence[Score]) -> np.ndarray:
    """Rank frequencies over several cells, each weighted by its cases, adding up to 1; empty where none is known."""
    known = [score for score in scores if score.ranks and sum(score.ranks) > 0]
    if not known:
        return np.array([])
    total = sum(score.cases * np.asarray(score.ranks) / sum(score.ranks) for score in known)
    return np.asarray(total / np.sum(total))


def _score(model: str, variable: str, row: Mapping[str, Any]) -> Score:
    skill = tuple(_number(row.get(name)) for name in ("crps_skill", "crps_skill_low", "crps_skill_high"))
    return Score(
        model,
        variable,
        str(row.get("scenario") or ""),
        str(row.get("lead", "")).replace("-", "–"),
        (skill[0], skill[1], skill[2]),
        *(_number(row.get(name)) for name in ("crps", "crps_fair", "rmse", "spread_skill")),
        int(row.get("cases") or 0),
        tuple(float(count) for count in row.get("rank_histogram") or ()),
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
