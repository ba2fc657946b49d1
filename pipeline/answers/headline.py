"""The sentence at the top of an answer: which number it says, and what it may call it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

from pipeline.answers.intervals import Estimate
from pipeline.answers.probability import BaseRate, Tally

ROUNDING = 1e-6  # by which values differ that single precision cannot tell apart

LONG = 1e9  # from which a number is easier to read with an exponent, as the kilograms of an area

Source = Literal["calibrated", "climatology", "members"]

_TERMS = (
    ("exceptionally unlikely", 0.0, 0.01),
    ("virtually certain", 0.99, 1.0),
    ("extremely unlikely", 0.0, 0.05),
    ("extremely likely", 0.95, 1.0),
    ("very unlikely", 0.0, 0.10),
    ("very likely", 0.90, 1.0),
    ("about as likely as not", 0.33, 0.66),
    ("unlikely", 0.0, 0.33),
    ("likely", 0.66, 1.0),
)


def headline(
    tally: Tally,
    base: BaseRate | None,
    *,
    skill: Mapping[str, Any],
    calibration: Mapping[str, Any],
    level: float,
    scenario: str | None,
) -> dict[str, Any]:
    """What an answer says first.

    The calibrated number if it is calibrated and has shown skill; the base rate if skill was measured and not shown;
    otherwise the share of members, which is not called a probability.

    Args:
        tally: The members' count.
        base: How often it happens, where the reference can say.
        skill: At least its ``verdict``.
        calibration: At least its ``state``.
        level: Coverage of the interval.
        scenario: Under which scenario, if any.

    Returns:
        ``text``, ``source``, ``value`` and ``likelihood_term``.
    """
    source = headline_source(base, skill=skill, calibration=calibration)
    under = f"Under {scenario}: " if scenario else ""
    if source == "climatology" and base is not None:
        return {
            "text": under + _no_skill(tally, base, skill, level),
            "source": source,
            "value": base.chance.value,
            "likelihood_term": None,
        }
    usual = _usual(base)
    if source == "calibrated":
        seen = _seen(tally, level)
        told = f" {seen}" if seen[0].isdigit() else f": {seen[0].lower()}{seen[1:]}"
        text = f"Probability{told}{usual}.{_times(tally, base)}"
        return {
            "text": under + text,
            "source": source,
            "value": tally.chance.value,
            "likelihood_term": likelihood_term(tally.chance),
        }
    why = _why_no_probability(skill, calibration)
    text = f"{_seen(tally, level)}{usual}. {why}"
    return {"text": under + text, "source": source, "value": tally.chance.value, "likelihood_term": None}


def headline_source(base: BaseRate | None, *, skill: Mapping[str, Any], calibration: Mapping[str, Any]) -> Source:
    """Which number an answer says first."""
    verdict = skill.get("verdict")
    if verdict in ("no_evidence", "worse_than_climatology") and base is not None:
        return "climatology"
    if calibration.get("state") == "calibrated" and verdict == "skilful":
        return "calibrated"
    return "members"


def likelihood_term(chance: Estimate) -> str | None:
    """The narrowest IPCC term whose range holds the whole interval, if one does.

    Source:
        Mastrandrea et al. (2010), guidance note for the fifth assessment report, table 1.
    """
    fitting = [(high - low, term) for term, low, high in _TERMS if low <= chance.low and chance.high <= high]
    return min(fitting)[1] if fitting else None


def percent(chance: float) -> str:
    """A chance in percent with as many digits as keep it from reading 0 or 100."""
    for digits in range(6):
        text = half_up(100 * chance, digits)
        if 0 < float(text) < 100 or chance in (0.0, 1.0):
            return f"{text} %"
    return "less than 0.00001 %" if chance < 0.5 else "more than 99.99999 %"


def half_up(value: float, digits: int = 0) -> str:
    """A number with so many decimals, a half away from zero as the page rounds it: 37 of 40 are 93 %."""
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def share_of_members(chance: float) -> str:
    """A share in words that never say 0 or 100 %."""
    return {0.0: "none", 1.0: "all"}.get(chance, percent(chance))


def members_or_samples(samples: int) -> str:
    """What is counted: members, or where years are pooled so many samples of each."""
    return "members" if samples == 1 else "samples"


def points(difference: float) -> str:
    """A difference of two chances in whole points, with its sign: ``+30``, ``−5``, ``0``; the page's ``points`` too."""
    whole = half_up(abs(100 * difference))
    sign = "+" if difference > 0 else "−"
    return f"{sign}{whole}" if whole != "0" else "0"


def factor(ratio: float) -> str:
    """A ratio to two digits, without an exponent: ``2.1``, ``170``."""
    return f"{float(f'{ratio:.2g}'):.7g}"


def amounts(values: Sequence[float | None]) -> list[str]:
    """Values to a fiftieth of the range that they span, all with the same decimals: ``3.86``, ``4.55``, ``−0.20``.

    Counts, all of them whole, have none; what differs by rounding alone has two; long numbers have an exponent,
    ``1.43e15``. None, and what is not finite, is ``unbounded``.
    """
    known = [value if value is not None and math.isfinite(value) else None for value in values]
    finite = [value for value in known if value is not None]
    span = max(finite, default=0.0) - min(finite, default=0.0)
    largest = max(map(abs, finite), default=0.0)
    if largest >= LONG:
        power = math.floor(math.log10(largest))
        texts = amounts([None if value is None else value / 10.0**power for value in known])
        return [text if value is None else f"{text}e{power}" for text, value in zip(texts, known, strict=True)]
    is_rounding = span <= ROUNDING * largest
    digits = 2 if is_rounding else max(0, math.ceil(math.log10(50 / span)))
    digits = 0 if all(float(value).is_integer() for value in finite) else digits
    return ["unbounded" if value is None else decimal(value, digits) for value in known]


def decimal(value: float, digits: int) -> str:
    """So many decimals, minus as a minus; what rounds to zero has no sign."""
    text = half_up(abs(value), digits)
    return minus(f"-{text}") if value < 0 and float(text) != 0 else text


def minus(number: str) -> str:
    """A number to be read, its hyphen as the minus that it stands for."""
    return number.replace("-", "−")


def interval_text(chance: Estimate, level: float) -> str:
    """``90 % interval 47 to 68 %``."""
    low, high = percent(chance.low).removesuffix(" %"), percent(chance.high)
    return f"{100 * level:g} % interval {low} to {high}"


def _seen(tally: Tally, level: float) -> str:
    """The count in words; what was never, or always, seen is a bound."""
    events, counted = tally.events, tally.counted
    members, samples = tally.event.shape
    what = members_or_samples(samples) + ("" if samples == 1 else f" ({members} members, each year)")
    if events == 0:
        odds = int(1 / tally.chance.high)
        bound = f"the true chance could be as high as {percent(tally.chance.high)}"
        if odds < 2:
            return f"None of {counted} {what} ({bound})"
        return f"Fewer than 1 in {odds} (0 of {counted} {what}; {bound})"
    if events == counted:
        odds = int(1 / (1 - tally.chance.low))
        bound = f"the true chance could be as low as {percent(tally.chance.low)}"
        if odds < 2:
            return f"All {counted} {what} ({bound})"
        return f"More than {odds - 1} in {odds} (all {counted} {what}; {bound})"
    return f"{percent(tally.chance.value)} ({events} of {counted} {what}; {interval_text(tally.chance, level)})"


def _usual(base: BaseRate | None) -> str:
    """The base rate in words."""
    if base is None:
        return ""
    if base.events == 0:
        odds = int(1 / base.chance.high)
        bound = f"fewer than 1 in {odds}" if odds > 1 else f"at most {percent(base.chance.high)}"
        return f"; usual odds {bound} (never in {_windows(base)})"
    if base.events == base.windows:
        return f"; usual odds more than {percent(base.chance.low)} (always in {_windows(base)})"
    return f"; usual odds {percent(base.chance.value)}"


def _windows(base: BaseRate) -> str:
    if base.years <= 1:
        return f"{base.windows} years"
    return f"{base.windows} overlapping windows of {base.years:.0f} years"


def _times(tally: Tally, base: BaseRate | None) -> str:
    if base is None or not 0 < base.chance.value < 1 or tally.chance.value in (0.0, 1.0):
        return ""
    return f" {factor(tally.chance.value / base.chance.value)} times the usual odds."


def _why_no_probability(skill: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    state = calibration.get("state")
    if state != "calibrated":
        stale = " any more" if state == "stale" else ""
        return f"A share of members. Not calibrated{stale}, so not a probability."
    if skill.get("verdict") == "not_applicable":
        return (
            "A share of calibrated members; past forecasts of this kind do not exist, so its skill cannot be measured."
        )
    if skill.get("verdict") == "skilful":
        return "A share of members."
    if skill.get("verdict") == "pending":
        return "A share of calibrated members; the skill of this question is being measured, so not yet a probability."
    return "A share of calibrated members; the skill of this question has not been measured, so not a probability."


def _no_skill(tally: Tally, base: BaseRate, skill: Mapping[str, Any], level: float) -> str:
    """The sentence for a question the system has shown no skill for."""
    usual = _usual(base).removeprefix("; ")
    detail = ""
    if skill.get("value") is not None:
        score, low, high = (decimal(skill.get(part, 0), 2) for part in ("value", "low", "high"))
        ends = f"{100 * level:g} % interval {low} to {high}"
        detail = f" (Brier skill {score}, {ends}, {skill.get('hindcasts', 0)} past forecasts)"
    return (
        f"{usual[0].upper()}{usual[1:]}. This system has shown no skill for this kind of question{detail}. Its members "
        f"say {percent(tally.chance.value)}; we do not recommend using that number."
    )
