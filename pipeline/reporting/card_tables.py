"""The tables of a report: every score, its parts, patterns and tails, trajectories, checks, and the models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.answers.headline import minus
from pipeline.judging.patterns import SCORES
from pipeline.reporting.captions import Table, signed
from pipeline.reporting.scoreboard import Score, read_scores, told_apart


def score_table(scores: Sequence[Score]) -> Table:
    """Every score of every cell."""
    columns = ("model", "variable", "scenario", "lead", "fair CRPS", "CRPS", "RMSE", "spread/error", "cases", "p-value")
    return Table(columns, tuple(_score_row(score) for score in scores))


def _score_row(score: Score) -> tuple[str, ...]:
    numbers = (score.crps_fair, score.crps, score.rmse, score.spread_skill[0])
    texts = [f"{number:.3g}" if np.isfinite(number) else "–" for number in numbers]
    p_value = f"{score.p_value:.2g}" if np.isfinite(score.p_value) else "–"
    return (score.model, score.variable, score.scenario or "–", score.lead, *texts, str(score.cases), p_value)


def parts_table(scorecard: Mapping[str, Any]) -> Table:
    """Skill by region, season and year of each model, all leads pooled; the reference itself is left out."""
    rows = [
        (score.model, score.variable, score.scenario or "–", _interval(score.skill),
         f"{score.spread_skill[0]:.2f}" if np.isfinite(score.spread_skill[0]) else "–", str(score.cases))
        for models in scorecard.get("parts", {}).values()
        for score in read_scores({"models": models})
        if score.model != scorecard["reference"] and score.cases
    ]  # fmt: skip
    return Table(("model", "variable, part", "scenario", "CRPS skill", "spread/error", "cases"), tuple(rows))


def pattern_table(scorecard: Mapping[str, Any]) -> Table:
    """Skill of whole patterns and of both tails, by model and lead; the reference itself is left out."""
    card = scorecard.get("patterns", {"models": {}})
    rows = [
        (model, told_apart(variable, row), str(row.get("scenario", "–")), row["lead"].replace("-", "–"),
         *[_interval([_number(row[f"{score}_skill{end}"]) for end in ("", "_low", "_high")]) for score in SCORES])
        for model, variables in card["models"].items()
        for variable, found in variables.items()
        for row in found
        if row["energy_skill"] is not None
    ]  # fmt: skip
    return Table(("model", "variable", "scenario", "lead", *(score.replace("_", " ") for score in SCORES)), tuple(rows))


def realism_table(scorecard: Mapping[str, Any]) -> Table:
    """Diagnostics of trajectories: what was observed, beside each model's members."""
    rows = []
    for model, variables in scorecard.get("realism", {}).items():
        for variable, found in variables.items():
            for row in found:
                rows.append(
                    (
                        model,
                        told_apart(variable, row, "scenario", "level"),
                        f"{row['diagnostic']} ({row['units']})" if row["units"] != "1" else row["diagnostic"],
                        *[_short(row[name]) for name in ("observed", "low", "median", "high")],
                        _side(row["place"]),
                    )
                )
    return Table(("model", "variable", "diagnostic", "truth", "5 %", "median", "95 %", "members"), tuple(rows))


def realism_sentences(scorecard: Mapping[str, Any]) -> list[str]:
    """For each model, how many diagnostics of its trajectories are unlike the truth, and which."""
    found = []
    for model in scorecard.get("realism", {}):
        rows = [row for row in realism_table(scorecard).rows if row[0] == model and row[-1] != "not known"]
        unlike = [f"{row[2].split(' (')[0]} of {row[1]} {row[-1]}" for row in rows if row[-1] != "like"]
        names = f": {'; '.join(unlike)}" if unlike else ""
        found.append(f"{model}: {len(unlike)} of {len(rows)} diagnostics unlike the truth{names}.")
    return found


def checks_table(scorecard: Mapping[str, Any]) -> Table:
    """Checks of generative failure, by model."""
    rows = [
        (model, check["name"], check["meaning"], "raised" if check["raised"] else "passed")
        for model, checks in scorecard.get("checks", {}).items()
        for check in checks
    ]
    return Table(("model", "check", "what was found", "verdict"), tuple(rows))


def model_table(cards: Sequence[Mapping[str, Any]], warnings: Mapping[str, Sequence[str]]) -> Table:
    """The models and what their checks raised.

    Args:
        cards: As the report has them.
        warnings: By model, sentences; a model that is not there was not checked.
    """
    columns = ("model", "kind", "parameters", "training", "warnings", "fingerprint", "notes")
    return Table(columns, tuple(_model_row(card, warnings.get(str(card.get("name", "")))) for card in cards))


def _model_row(card: Mapping[str, Any], warnings: Sequence[str] | None) -> tuple[str, ...]:
    notes = card.get("notes") or ""
    text = "; ".join(f"{n}: {_said(value)}" for n, value in notes.items()) if isinstance(notes, Mapping) else str(notes)
    parameters, seconds = card.get("parameters"), card.get("seconds")
    return (
        str(card.get("name", "")),
        str(card.get("kind", "")),
        "–" if parameters is None else f"{int(parameters):,}",
        "–" if seconds is None else f"{float(seconds):.1f} s",
        "not checked" if warnings is None else " ".join(warnings) or "none",
        str(card.get("fingerprint", "")),
        text,
    )


def _side(place: float | None) -> str:
    """On which side of the truth the members lie, from the place of the truth among them."""
    if place is None:
        return "not known"
    return "too high" if place < 0.05 else "too low" if place > 0.95 else "like"


def _interval(skill: Sequence[float]) -> str:
    """A skill with its interval."""
    value, low, high = skill
    text = "–" if np.isnan(value) else signed(value)
    return f"{text} ({signed(low)} to {signed(high)})" if np.isfinite([low, high]).all() else text


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _short(number: float | None) -> str:
    return "–" if number is None else minus(f"{number:.3g}")


def _said(value: Any) -> str:
    """A note of a model card with as many digits as one reads."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(part)}" for name, part in value.items())
    if isinstance(value, list):
        return f"{_said(value[0])} … {_said(value[-1])}" if len(value) > 3 else ", ".join(map(_said, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
