"""Reading ``scorecard.json``: the one place that knows its layout, and what its numbers allow one to say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pipeline.answers.headline import decimal

Verdict = Literal["better", "worse", "open", "unknown"]
Interval = tuple[float, float, float]
"""A number with the low and high end of its interval; NaN where not known."""

_VERDICTS: tuple[Verdict, ...] = ("better", "worse", "open", "unknown")
_PARTS = ("level", "region", "season", "month", "year")


@dataclass(frozen=True)
class Score:
    """One cell of a scorecard: a model on a variable, under a scenario, at a lead.

    Attributes:
        model: Name in the experiment.
        variable: Short name, with level, region or season where the scorecard has several.
        scenario: Name, or an empty text in an unforced system.
        lead: Lead, or first and last of a block, as text.
        leads: The same as numbers; None where the scorecard does not give them.
        skill: CRPS skill against the reference, its low and high end; NaN where not known.
        crps: Plain CRPS, in the variable's units.
        crps_fair: Fair CRPS, in the variable's units.
        rmse: Of the ensemble mean, in the variable's units.
        spread_skill: 1 for a reliable ensemble; its low and high end; NaN where not known.
        cases: How many cases were scored.
        ranks: Counts or frequencies by rank; empty where not known.
        lead_units: Of the leads; empty where they are called by their dates.
        versus: By model, CRPS skill against it.
        p_value: Of no difference from the reference (Diebold–Mariano); NaN where not known.
    """

    model: str
    variable: str
    scenario: str
    lead: str
    leads: tuple[int, int] | None
    skill: Interval
    crps: float
    crps_fair: float
    rmse: float
    spread_skill: Interval
    cases: int
    ranks: tuple[float, ...]
    lead_units: str
    versus: Mapping[str, Interval]
    p_value: float

    @property
    def has_interval(self) -> bool:
        """Whether the skill's interval is known."""
        return bool(np.isfinite(self.skill).all())

    @property
    def verdict(self) -> Verdict:
        """Whether the interval of the skill lies above zero, below, or on both sides."""
        return verdict_of(self.skill)


def verdict_of(skill: Interval) -> Verdict:
    """Whether the interval of a skill lies above zero, below, or on both sides."""
    value, low, high = skill
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


def calibrated_name(model: str) -> str:
    """What a model's calibrated members are called beside its raw ones."""
    return f"{model}, calibrated"


def calibrated_scores(scorecard: Mapping[str, Any], part: str) -> list[Score]:
    """The same of calibrated members, named so; the reference is judged uncalibrated, and already there.

    Args:
        scorecard: The ``calibrated`` part of a scorecard; empty where nothing is calibrated.
        part: ``models``, or ``overall`` for all leads pooled.
    """
    models = {model: rows for model, rows in scorecard.get(part, {}).items() if model != scorecard["reference"]}
    return [replace(score, model=calibrated_name(score.model)) for score in read_scores({"models": models})]


def tally(scores: Sequence[Score]) -> dict[Verdict, int]:
    """How many cells have each verdict."""
    return {verdict: sum(score.verdict == verdict for score in scores) for verdict in _VERDICTS}


def pooled_ranks(scores: Sequence[Score]) -> np.ndarray:
    """Rank frequencies over several cells, each weighted by its cases, adding up to 1; empty where none is known."""
    known = [score for score in scores if score.ranks and sum(score.ranks) > 0]
    if not known:
        return np.array([])
    total = sum(score.cases * np.asarray(score.ranks) / sum(score.ranks) for score in known)
    return np.asarray(total / np.sum(total))


def summary(card: Mapping[str, Any]) -> str:
    """A table of skill by model, variable and lead, in Markdown, for the page of a run."""
    rows = [
        f"| {score.model} | {score.variable} | {score.scenario} | {score.lead} | {_skill_text(score)} |"
        for score in read_scores(card)
    ]
    head = [f"CRPS skill against {card['reference']}", "", "| model | variable | scenario | lead | skill |"]
    return "\n".join([*head, "|---|---|---|---|---|", *rows])


def _skill_text(score: Score) -> str:
    value, low, high = score.skill
    if not np.isfinite(value):
        return "–"
    said, *ends = (decimal(number, 3) for number in (value, low, high))
    return f"{said} ({' to '.join(ends)})" if score.has_interval else said


def told_apart(variable: str, row: Mapping[str, Any], *names: str) -> str:
    """A variable with what else its row is of, as ``zg, 500 hPa``; the parts that are named, or those of a score."""
    parts = [_part(name, row[name]) for name in names or _PARTS if name in row]
    return ", ".join([variable, *(part for part in parts if part != "all")])


def _part(name: str, value: object) -> str:
    number = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{number} hPa" if name == "level" else number


def _score(model: str, variable: str, row: Mapping[str, Any]) -> Score:
    return Score(
        model=model,
        variable=told_apart(variable, row),
        scenario=str(row.get("scenario") or ""),
        lead=str(row.get("lead", "")).replace("-", "–"),
        leads=(int(row["lead_first"]), int(row["lead_last"])) if "lead_first" in row else None,
        skill=_skill(row),
        crps=_number(row.get("crps")),
        crps_fair=_number(row.get("crps_fair")),
        rmse=_number(row.get("rmse")),
        spread_skill=_interval(row, "spread_skill"),
        cases=int(row.get("cases") or 0),
        ranks=tuple(float(count) for count in row.get("rank_histogram") or () if count is not None),
        lead_units=str(row.get("lead_units") or ""),
        versus={str(other): _skill(theirs) for other, theirs in (row.get("versus") or {}).items()},
        p_value=_number(row.get("p_value")),
    )


def _skill(row: Mapping[str, Any]) -> Interval:
    """CRPS skill, or the fair one where ensembles of different size have no other."""
    return _interval(row, "crps_skill" if row.get("crps_skill") is not None else "crps_fair_skill")


def _interval(row: Mapping[str, Any], name: str) -> Interval:
    return _number(row.get(name)), _number(row.get(f"{name}_low")), _number(row.get(f"{name}_high"))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
