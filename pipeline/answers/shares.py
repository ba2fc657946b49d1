"""``prob`` questions: the share of members, its base rate, their ratio, and scenarios compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.answers.comparison import contrast, gap_text, of_members
from pipeline.answers.headline import headline
from pipeline.answers.intervals import Estimate, ratio_interval
from pipeline.answers.probability import BaseRate, Inquiry, Tally, base_rate, count, widened
from pipeline.answers.spells import members_at_edge
from pipeline.answers.thresholds import margin_of
from pipeline.answers.warnings import thin_warnings, warning
from pipeline.events.errors import QuestionError

Payload = dict[str, Any]


def answer_shares(
    inquiry: Inquiry, *, level: float, skill: Mapping[str, Any], raw: Inquiry | None, refits: Sequence[Inquiry] = ()
) -> tuple[Payload, xr.Dataset]:
    """Answer a ``prob`` question.

    Args:
        inquiry: The question before its data.
        level: Coverage of intervals.
        skill: The track record of the question.
        raw: The same question before the members as they were before calibration.
        refits: The same question before members that were calibrated without one part of the hindcasts each.

    Returns:
        The answer's own fields, and each member's outcome.
    """
    refitted = [count(refit, level=level) for refit in refits]
    tallies = [
        widened(tally, [others[index] for others in refitted], level=level)
        for index, tally in enumerate(count(inquiry, level=level))
    ]
    earlier = None if raw is None else count(raw, level=level)
    base, why_no_base = _base(inquiry, level)
    margin, at_edge = margin_of(inquiry), members_at_edge(inquiry)
    warnings = (
        _warnings(inquiry, tallies, base) + _skill_warnings(skill) + margin.warnings(tallies, inquiry.scenarios, skill)
    )
    answers = []
    for index, tally in enumerate(tallies):
        scenario = inquiry.scenarios[index] if inquiry.scenarios else None
        before = None if earlier is None else earlier[index]
        part = _one(inquiry, tally, base, before, level=level, skill=skill, scenario=scenario)
        if len(refits) > 1:
            how = f"{part['interval']['method']}, widened by the jackknife of the calibration"
            part["interval"] |= {"method": how, "covers": "members and calibration fit"}
        part["distribution"], part["members"]["ties"] = margin.distribution(index), margin.ties(index)
        if part["distribution"] is None:
            part["distribution_reason"] = part["members"]["ties_reason"] = margin.reason
        if at_edge is not None:
            part["members"]["spell_touches_edge"] = at_edge[index]
        if why_no_base:
            part["base_rate_reason"] = part["ratio_reason"] = why_no_base
        answers.append(part)
    members = _members(inquiry, tallies)
    if len(answers) == 1:
        return {**answers[0], "warnings": warnings}, members
    return {**_compared(inquiry, tallies, answers, level), "warnings": warnings}, members


def _one(
    inquiry: Inquiry,
    tally: Tally,
    base: BaseRate | None,
    before: Tally | None,
    *,
    level: float,
    skill: Mapping[str, Any],
    scenario: str | None,
) -> Payload:
    """The answer under one scenario."""
    calibration = inquiry.members.catalogue.calibration
    is_calibrated = calibration.get("state") == "calibrated"
    probability: Payload = {
        "raw": (None if before is None else before.chance.value) if is_calibrated else tally.chance.value,
        "calibrated": tally.chance.value if is_calibrated else None,
        "climatology": None if base is None else base.chance.value,
    }
    if is_calibrated and before is None:
        probability["raw_reason"] = "The members before calibration were not asked."
    if not is_calibrated:
        probability["calibrated_reason"] = calibration.get("why", f"The ensemble is {calibration.get('state')}.")
    never_always = tally.events in (0, tally.counted)
    return {
        "headline": headline(tally, base, skill=skill, calibration=calibration, level=level, scenario=scenario),
        "probability": probability,
        "interval": {
            "level": level,
            "low": tally.chance.low,
            "high": tally.chance.high,
            "method": "exact, one-sided" if never_always else "jeffreys",
            "covers": "sampling of members",
        },
        "members": _counts(tally),
        "base_rate": None if base is None else _base_fields(inquiry, base),
        "ratio": _ratio(tally.chance, base),
    }


def _counts(tally: Tally) -> Payload:
    """How many members say what."""
    return {
        "total": int(tally.event.shape[0]),
        "samples_per_member": int(tally.event.shape[1]),
        "event": tally.events,
        "not": tally.counted - tally.events,
        "unknown": tally.unknown,
        "excluded": int((~tally.considered).sum()),
        "effective": round(tally.effective, 1),
        "weights": "equal",
        "computed_from": "members",
    }


def _base_fields(inquiry: Inquiry, base: BaseRate) -> Payload:
    """The base rate as fields."""
    chance = base.chance
    return {
        "value": chance.value,
        "low": chance.low,
        "high": chance.high,
        "years": base.windows,
        "events": base.events,
        "independent": round(base.independent, 1),
        "window_years": round(base.years, 2),
        "source": inquiry.members.catalogue.reference,
        "same_season": True,
    }


def _base(inquiry: Inquiry, level: float) -> tuple[BaseRate | None, str | None]:
    """The base rate, or why there is none: it must not stop the answer."""
    try:
        return base_rate(inquiry, level=level), None
    except QuestionError as error:
        if error.code != "reference_too_short":
            raise
        return None, error.text


def _ratio(chance: Estimate, base: BaseRate | None) -> Payload | None:
    """How many times the usual odds; only a lower bound where the event is unknown to the reference."""
    if base is None:
        return None
    ends = ratio_interval(chance, base.chance)
    if base.chance.value == 0:
        return {"value": None, "low": ends.low, "high": None, "odds_ratio": None, "value_reason": "The base rate is 0."}
    p, q = chance.value, base.chance.value
    odds = p * (1 - q) / (q * (1 - p)) if p < 1 and q < 1 else None
    why = {} if odds is not None else {"odds_ratio_reason": "Where all have the event its odds are not finite."}
    return {"value": p / q, "low": ends.low, "high": ends.high, "odds_ratio": odds, **why}


def _compared(inquiry: Inquiry, tallies: list[Tally], answers: list[Payload], level: float) -> Payload:
    """Two scenarios: both answers, their difference and ratio, as of pairs of members that share their noise."""
    first, second = tallies[0], tallies[1]
    one, other = inquiry.scenarios
    shares = (first.shares, second.shares)
    found = contrast(first.chance, second.chance, shares=shares, level=level, against=f"under {other}")
    for scenario, part in zip(inquiry.scenarios, answers, strict=True):
        part["scenario"] = scenario
    said, beside = (of_members(tally.chance.value, samples=tally.event.shape[1]) for tally in (first, second))
    alone = " ".join(part["headline"]["text"] for part in answers)
    text = f"{said} under {one}, {beside.lower()} under {other}: {gap_text(found['difference'])}. {alone}"
    value, source = found["difference"]["value"], answers[0]["headline"]["source"]
    head = {"text": text, "source": source, "value": value, "likelihood_term": None}
    return {"headline": head, "scenarios": answers, **found}


def _members(inquiry: Inquiry, tallies: list[Tally]) -> xr.Dataset:
    """Each member's outcome: 1, 0, or NaN where it is unknown or does not count."""
    values = np.stack([np.where(tally.known, tally.event, np.nan) for tally in tallies])
    dims = ("scenario", "member", "sample")
    coords = {"scenario": list(inquiry.scenarios)} if inquiry.scenarios else {}
    event = xr.DataArray(values, dims=dims, coords=coords, name="event")
    squeezed = event.squeeze([dim for dim in ("scenario", "sample") if event.sizes[dim] == 1])
    return squeezed.to_dataset()


def _warnings(inquiry: Inquiry, tallies: list[Tally], base: BaseRate | None) -> list[dict[str, str]]:
    """What the reader should know beside the number."""
    known, considered = (np.stack([getattr(tally, name) for tally in tallies]) for name in ("known", "considered"))
    found = thin_warnings(inquiry, known, considered)
    if base is not None and base.independent < 10:
        what = "years" if base.years <= 1 else f"windows of {base.years:.0f} years"
        text = f"The base rate rests on {base.independent:.3g} independent {what}."
        found.append(warning("base_rate_thin", text))
    return found


def _skill_warnings(skill: Mapping[str, Any]) -> list[dict[str, str]]:
    """That the question's record shows no skill, or that there is no record."""
    verdict = skill.get("verdict")
    if verdict in ("no_evidence", "worse_than_climatology"):
        return [warning("no_skill", "Past forecasts of this event were no better than its usual odds.")]
    if verdict == "not_measured":
        text = f"The skill of this question was not measured. {skill.get('reason', '')}".rstrip()
        return [warning("skill_not_measured", text)]
    return []
