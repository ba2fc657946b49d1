"""The report's sentences, composed from facts: what was found, and where it should not be trusted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.answers.headline import decimal, half_up, points, share_of_members
from pipeline.reporting.scoreboard import Score, tally


@dataclass(frozen=True)
class Part:
    """An answer under one scenario; positions are in % of the number line, None where not known.

    Attributes:
        headline: The answer in words.
        value: The number that leads: calibrated, members' share or base rate, as the answer's headline says.
        low: Low end of the interval.
        high: High end.
        base: Base rate.
        facts: Name and text of what stands behind the number.
    """

    headline: str
    value: float | None
    low: float | None
    high: float | None
    base: float | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AnswerCard:
    """One answered question as the page shows it.

    Attributes:
        question: In words.
        text: As one asks it on the command line.
        parts: One for each scenario.
        comparison: How two scenarios differ, or an empty text.
        facts: Name and text of what holds for all parts.
        warnings: Sentences.
    """

    question: str
    text: str
    parts: tuple[Part, ...]
    comparison: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def answer_cards(answers: Sequence[Mapping[str, Any]]) -> list[AnswerCard]:
    """A card for each answer, as ``tercile ask --json`` gives them; what an answer lacks is left out or said."""
    return [_card(answer) for answer in answers]


def percent(share: float | None) -> str:
    """A share as text; a finite ensemble never says 0 or 100 %."""
    if share is None or not np.isfinite(share):
        return "not known"
    if share <= 0.005:
        return "less than 1 %"
    return "more than 99 %" if share >= 0.995 else f"{half_up(100 * share)} %"


def trust_sentences(
    scores: Sequence[Score],
    pooled: Sequence[Score],
    *,
    issuing: str,
    reference: str,
    members: int,
    sources: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
) -> list[str]:
    """Where the numbers should not be trusted, the weightiest first; scores, also pooled, are the issuing model's."""
    return [
        _skill_sentence(scores, pooled, issuing, reference),
        *warnings,
        *_calibration_sentences(answers),
        *_source_sentences(sources),
        _members_sentence(members),
    ]


def _remedy(scores: Sequence[Score], reference: str) -> str:
    """What to use instead; under a scenario the past's base rate would be no remedy."""
    if any(score.scenario for score in scores):
        return f"{reference} shares its warming: what a scenario does to the mean is known, more than that is not."
    return "Use the base rate."


def _skill_sentence(scores: Sequence[Score], pooled: Sequence[Score], issuing: str, reference: str) -> str:
    count = tally(scores)
    judged = len(scores) - count["unknown"]
    if issuing == reference:
        return f"{issuing} issues and is the reference itself: expect base rates with a trend, not a skilful forecast."
    if not judged:
        return f"The skill of {issuing} could not be measured: take its numbers as a story, not as a forecast."
    leads = _leads_of([score for score in scores if score.verdict != "unknown"])
    if count["worse"] > count["better"]:
        where = f"at {count['worse']} of {judged} {leads}"
        return f"{issuing} was worse than {reference} {where} on data no fit has seen. {_remedy(scores, reference)}"
    if not count["better"] and tally(pooled)["better"]:
        return f"{issuing} was better than {reference} on data no fit has seen with all leads pooled, at no lead alone."
    if not count["better"]:
        return f"{issuing} has shown no skill over {reference} on data no fit has seen. {_remedy(scores, reference)}"
    rest = judged - count["better"]
    tail = f" At the other {rest} nothing was gained: do not prefer it there." if rest else ""
    return (
        f"{issuing} was better than {reference} at {count['better']} of {judged} {leads} on data no fit has seen.{tail}"
    )


def _leads_of(scores: Sequence[Score]) -> str:
    """What is counted where each variable, and each scenario, has its own leads."""
    counts = {
        "of {} variables": {score.variable for score in scores},
        "under {} scenarios": {score.scenario for score in scores},
    }
    return " ".join(["leads", *(words.format(len(names)) for words, names in counts.items() if len(names) > 1)])


def _calibration_sentences(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    states = {(answer.get("calibration") or {}).get("state") for answer in answers}
    if not states or "calibrated" in states:
        return []
    return [
        "No answer is calibrated: each says what share of members shows an event, not how likely it is in the world."
    ]


def _source_sentences(sources: Sequence[str]) -> list[str]:
    if len(sources) != 1:
        return []
    return [
        f"All of it descends from one source ({sources[0]}): it cannot show how far other models, or the real climate, "
        "would differ."
    ]


def _members_sentence(members: int) -> str:
    """The 90 % interval about a share of one half, and the exact one-sided 95 % bound for what was never seen."""
    half_width = 100 * 1.645 * np.sqrt(0.25 / members)
    never_seen = 100 * (1 - 0.05 ** (1 / members))
    return (
        f"With {members} members a share is itself uncertain: 50 % could be {half_width:.0f} points more or less, and "
        f"what no member shows may still have a chance of up to {never_seen:.1f} %. Intervals say this sampling error, "
        "and where members are calibrated how well the calibration is known; they do not say the error of the model."
    )


def _card(answer: Mapping[str, Any]) -> AnswerCard:
    question = answer.get("question") or {}
    provenance = answer.get("provenance") or {}
    facts = [
        ("Skill", _skill_text(answer.get("skill") or {})),
        ("Calibration", _calibration_text(answer.get("calibration") or {})),
        ("Model", str((provenance.get("model") or {}).get("name", ""))),
        ("Start", str(provenance.get("init_time") or "")),
    ]
    return AnswerCard(
        question=str(question.get("reads_as") or question.get("text") or ""),
        text=str(question.get("text") or ""),
        parts=tuple(_part(part) for part in answer.get("scenarios") or [answer]),
        comparison=_comparison(answer.get("difference") or {}),
        facts=tuple((name, text) for name, text in facts if text),
        warnings=tuple(str(warning["text"]) for warning in answer.get("warnings") or ()),
    )


def _part(part: Mapping[str, Any]) -> Part:
    headline, interval, base = (part.get(name) or {} for name in ("headline", "interval", "base_rate"))
    value = headline.get("value") if "probability" in part else None
    return Part(
        headline=str(headline.get("text", "No answer.")),
        value=_per_cent(value),
        low=_per_cent(interval.get("low")),
        high=_per_cent(interval.get("high")),
        base=_per_cent(base.get("value")),
        facts=tuple(_part_facts(part.get("members") or {}, interval, base)),
    )


def _part_facts(
    members: Mapping[str, Any], interval: Mapping[str, Any], base: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    if members.get("event") is not None:
        samples = int(members.get("samples_per_member") or 1)
        of = int(members["total"]) * samples
        yield (
            "Members",
            f"{members['event']} of {of}" + (f" ({members['total']} members × {samples})" if samples > 1 else ""),
        )
    if interval.get("low") is not None and interval.get("high") is not None:
        ends = f"{percent(interval['low'])} to {percent(interval['high'])}"
        yield (
            f"{100 * interval.get('level', 0.9):.0f} % interval",
            f"{ends} ({interval.get('covers', 'sampling of members')})",
        )
    if base.get("value") is not None:
        yield "Base rate", f"{share_of_members(base['value'])}{_base_text(base)}"


def _base_text(base: Mapping[str, Any]) -> str:
    source = f", {base['source']}" if base.get("source") else ""
    if base.get("events") is None or not base.get("years"):
        return source
    length = float(base.get("window_years") or 1)
    windows = "years" if length <= 1 else f"windows of {length:g} years"
    return f" ({base['events']} of {base['years']} {windows}{source})"


def _comparison(difference: Mapping[str, Any]) -> str:
    if difference.get("value") is None:
        return ""
    ends = (difference.get(end) for end in ("value", "low", "high"))
    value, low, high = ("unknown" if end is None else points(end) for end in ends)
    return f"Difference: {value} points ({100 * difference.get('level', 0.9):.0f} % interval {low} to {high})."


def _calibration_text(calibration: Mapping[str, Any]) -> str:
    state = str(calibration.get("state", "not known"))
    return {
        "uncalibrated": "not calibrated: a share of members, not a probability",
        "not_possible": "not possible: a share of members, not a probability",
        "stale": "out of date",
    }.get(state, state.replace("_", " "))


def _skill_text(skill: Mapping[str, Any]) -> str:
    verdict = str(skill.get("verdict", "not_measured"))
    words = {
        "skilful": "shown in past forecasts",
        "no_evidence": "none shown in past forecasts",
        "worse_than_climatology": "worse than the base rate in past forecasts",
        "not_measured": "not measured for this question",
        "not_applicable": "cannot be measured: a projection has no past forecasts",
    }.get(verdict, verdict.replace("_", " "))
    if skill.get("value") is None:
        return words
    score, low, high = (decimal(skill.get(part, float("nan")), 2) for part in ("value", "low", "high"))
    return f"{words}: {score} ({low} to {high})"


def _per_cent(share: Any) -> float | None:
    return None if share is None else 100 * float(share)
