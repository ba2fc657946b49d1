"""Two chances side by side: their difference and their ratio, with intervals.

Members of one forecast are pairs: under two scenarios they share their noise, and at two places they are the same
futures. What they have in common leaves the difference. Members of two forecasts were drawn apart, so nothing is taken
off; where they still have something in common, such as the fit of a calibration, the interval is wider than it need be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.card import WIDTH, laid_out, row
from pipeline.answers.headline import factor, members_or_samples, percent, points
from pipeline.answers.intervals import Estimate, Interval, difference_interval, paired_correlation, ratio_interval
from pipeline.events.errors import QuestionError

if TYPE_CHECKING:
    from pipeline.answers.answer import Answer

Payload = dict[str, Any]
Shares = NDArray[np.float64]

SIDES = ("first", "second")
SAME_FORECAST = ("forecast", "model", "snapshot")


def contrast(
    first: Estimate, second: Estimate, *, shares: tuple[Shares, Shares] | None, level: float, against: str
) -> Payload:
    """The difference and the ratio of two chances.

    Args:
        first: A chance with its interval.
        second: What it is compared with, of the same coverage.
        shares: Each member's own share in both, ``(member,)``, NaN where unknown; None where members are no pairs.
        level: Coverage of the intervals.
        against: The second's name, such as ``under E1``.

    Returns:
        ``difference`` and ``probability_ratio``; a ratio to nothing has only a lower end.
    """
    correlation = 0.0 if shares is None else float(paired_correlation(*shares))
    pairs = "members independent" if shares is None else "members paired"
    how = {"level": level, "method": f"square-and-add, {pairs}", "correlation": round(correlation, 3)}
    gap = difference_interval(first, second, correlation=correlation)
    times = ratio_interval(first, second, correlation=correlation)
    return {
        "difference": {"value": first.value - second.value, "low": gap.low, "high": gap.high, **how},
        "probability_ratio": {**_ratio(first.value, second.value, times, against), **how},
    }


def gap_text(difference: Payload) -> str:
    """A difference as people say it: ``+30 points (90 % interval +10 to +48)``."""
    value, low, high = (points(difference[part]) for part in ("value", "low", "high"))
    return f"{value} points ({100 * difference['level']:g} % interval {low} to {high})"


def ratio_text(ratio: Payload) -> str:
    """A ratio as people say it: ``2.1 times (90 % interval 1.3 to 3.4)``; to nothing it has a lower end at most."""
    if ratio["value"] is None and ratio["low"] == 0:
        return "not known"
    if ratio["value"] is None:
        return f"at least {factor(ratio['low'])} times ({100 * ratio['level']:g} % interval, open above)"
    value, low, high = (factor(ratio[part]) for part in ("value", "low", "high"))
    return f"{value} times ({100 * ratio['level']:g} % interval {low} to {high})"


def comparison_text(found: Payload, *, width: int = WIDTH) -> str:
    """A comparison for a terminal: both headlines, the difference, the ratio, and what either answer warns of.

    Args:
        found: Of :func:`compare`.
        width: Columns.
    """
    ratio = found["probability_ratio"]
    lines = [
        *(
            (f"{name}: {one['headline']['text'].removeprefix(f'Under {name}: ')}", "  ")
            for name, one in zip(found["names"], found["answers"], strict=True)
        ),
        row("difference", gap_text(found["difference"])),
        row("ratio", ". ".join(filter(None, (ratio_text(ratio), ratio.get("value_reason"))))),
        row("method", found["difference"]["method"]),
        *((f"! {f'{name}: ' if name else ''}{each['text']}", "  ") for name, each in warnings_of(found)),
    ]
    return laid_out(lines, width=width)


def warnings_of(found: Payload) -> list[tuple[str, dict[str, str]]]:
    """All warnings of a comparison, each with the name of the answer that it is about, or none."""
    sides = [*zip(found["names"], found["answers"], strict=True), ("", found)]
    return [(name, warning) for name, part in sides for warning in part["warnings"]]


def of_members(share: float, *, samples: int) -> str:
    """A share of members, or of so many samples of each, in words; a finite ensemble never says 0 or 100 %."""
    what = members_or_samples(samples)
    return {0.0: f"None of the {what}", 1.0: f"All {what}"}.get(share, f"{percent(share)} of {what}")


def compare(first: Answer, second: Answer) -> Payload:
    """Two answers to ``prob`` questions side by side.

    Args:
        first: One answer.
        second: What it is compared with: of another region, another forecast, another threshold.

    Returns:
        Schema ``comparison/1``: both answers, what tells them apart, their difference and ratio.

    Raises:
        QuestionError: ``not_comparable``.
    """
    payloads = [_one_chance(each) for each in (first, second)]
    level, other_level = (payload["interval"]["level"] for payload in payloads)
    if level != other_level:
        text = f"Intervals of {100 * level:g} % and of {100 * other_level:g} % are not compared; ask both at one level."
        raise QuestionError("not_comparable", text, where="level")
    one, other = (_estimate(payload) for payload in payloads)
    names = _names(*payloads)
    is_paired = all(payloads[0]["provenance"].get(key) == payloads[1]["provenance"].get(key) for key in SAME_FORECAST)
    shares = (_shares(first), _shares(second)) if is_paired else None
    found = contrast(one, other, shares=shares, level=level, against=f"in '{names[1]}'")
    said = [
        f"{name}: {of_members(chance.value, samples=payload['members']['samples_per_member']).lower()}"
        for name, chance, payload in zip(names, (one, other), payloads, strict=True)
    ]
    return {
        "schema": "comparison/1",
        "headline": {
            "text": f"{'; '.join(said)}. Difference {gap_text(found['difference'])}.",
            "value": found["difference"]["value"],
        },
        "names": names,
        "answers": payloads,
        **found,
        "warnings": _windows_differ(names, *payloads),
    }


def _ratio(p: float, q: float, ends: Interval, against: str) -> Payload:
    if q == 0:
        return {"value": None, "low": ends.low, "high": None, "value_reason": f"No member has the event {against}."}
    return {"value": p / q, "low": ends.low, "high": ends.high}


def _one_chance(answer: Answer) -> Payload:
    """The payload of an answer that is one chance."""
    payload = answer.to_json()
    if payload["question"]["ask"] != "prob" or "scenarios" in payload:
        text = "Two 'prob' questions are compared, each under one scenario."
        raise QuestionError("not_comparable", text, where=payload["question"]["text"])
    return payload


def _estimate(payload: Payload) -> Estimate:
    members, interval = payload["members"], payload["interval"]
    share = members["event"] / (members["event"] + members["not"])
    return Estimate(share, interval["low"], interval["high"])


def _shares(answer: Answer) -> Shares:
    """Each member's own share of samples with the event; NaN where nothing is known."""
    event = answer.members["event"]
    return np.asarray(event.mean([dim for dim in event.dims if dim != "member"]))


def _names(first: Payload, second: Payload) -> list[str]:
    """What tells two questions apart: the regions, the forecast, the scenario; else their order."""
    marks = [_marks(payload) for payload in (first, second)]
    differing = [place for place, pair in enumerate(zip(*marks, strict=True)) if pair[0] != pair[1]]
    named = [", ".join(filter(None, (own[place] for place in differing))) for own in marks]
    return named if all(named) else list(SIDES)


def _marks(payload: Payload) -> tuple[str, str, str]:
    resolved = payload["question"]["resolved"]
    regions = " and ".join(region["name"] for region in resolved["regions"])
    return regions, payload["provenance"]["forecast"], " and ".join(resolved["scenarios"])


def _windows_differ(names: list[str], first: Payload, second: Payload) -> list[dict[str, str]]:
    """That two questions are about different dates, as two forecasts are for one lead."""
    windows = [payload["question"]["resolved"]["window"] for payload in (first, second)]
    if windows[0] == windows[1] or None in windows:
        return []
    spans = [f"{name} is about {start} to {end}" for name, (start, end) in zip(names, windows, strict=True)]
    text = f"The dates differ: {', '.join(spans)}. Name the same dates in both to compare one time."
    return [{"code": "windows_differ", "text": text}]
