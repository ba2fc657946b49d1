"""What the scorecard lets one say, in sentences: each model against the reference, and which model issues and why."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from pipeline.reporting.captions import in_percent, under
from pipeline.reporting.scoreboard import Interval, Score, Verdict, verdict_of

_WORDS: dict[Verdict, str] = {"better": "better than", "worse": "worse than", "open": "not told apart from"}
_IN_PART = {
    "partly better": "for some variables or scenarios better than, for others not told apart from,",
    "partly worse": "for some variables or scenarios worse than, for others not told apart from,",
}
_AT: dict[Verdict, str] = {"better": "better at", "worse": "worse at", "open": "not told apart at"}


def verdict_sentences(
    scores: Sequence[Score], overall: Sequence[Score], *, reference: str, confidence: float
) -> list[str]:
    """One sentence for each model and variable: how it did over all judged leads, and where it did otherwise.

    Args:
        scores: By lead.
        overall: With all leads pooled.
        reference: The model that skill is measured against.
        confidence: Of the intervals.
    """
    found = []
    for model, variable in dict.fromkeys(
        (score.model, score.variable) for score in overall if score.model != reference
    ):
        parts = []
        for pooled in overall:
            if (pooled.model, pooled.variable) == (model, variable):
                rows = [score for score in scores if _same(score, pooled) and score.verdict != "unknown"]
                parts.append(_clause(pooled, rows, reference, confidence))
        found.append(f"{model} on {variable}: {'; '.join(parts)}.")
    return found


def chance_sentence(scores: Sequence[Score], *, confidence: float) -> str:
    """How many cells of the scorecard would differ by chance alone; empty where none has an interval."""
    judged = sum(score.has_interval for score in scores)
    if not judged:
        return ""
    expected = judged * (1 - confidence) / 2
    return (
        f"Of {judged} cells about {expected:.1f} would show ▲ and as many ▼ by chance, if no model differed from the "
        "reference: a lone sign is weak evidence."
    )


def issue_paragraph(mine: Sequence[Score], *, issuing: str, reference: str, because: str) -> str:
    """Which model issues, why, and how it did against every other one.

    Args:
        mine: Its scores with all leads pooled, of its members as it issues them.
        issuing: Its name.
        reference: The model that skill is measured against.
        because: Why it issues, as the end of a sentence.
    """
    head = f"{issuing} issues: {because}."
    against: dict[str, list[str]] = {}
    for other in dict.fromkeys(name for score in mine for name in score.versus):
        word = _joint_verdict([score.versus[other] for score in mine if other in score.versus])
        against.setdefault(word, []).append(_named(other, reference))
    against.pop("unknown", None)
    if not against:
        return f"{head} Nothing could be judged yet, so it has earned no trust by its past forecasts."
    said = [f"{_WORDS[verdict]} {_listed(against[verdict])}" for verdict in _WORDS if verdict in against]
    said += [f"{words} {_listed(against[part])}" for part, words in _IN_PART.items() if part in against]
    said += [f"better than {other} here and worse there" for other in against.get("mixed", [])]
    text = f"{head} On data that no fit has seen, all leads pooled, it was {_listed(said)}."
    if worse := [*against.get("worse", []), *against.get("partly worse", [])]:
        return f"{text} Prefer {_listed(worse)}."
    if issuing != reference and reference in " ".join(against.get("open", [])):
        return f"{text} Expect no better odds from it than from {reference}."
    return text


def _same(score: Score, pooled: Score) -> bool:
    return (score.model, score.variable, score.scenario) == (pooled.model, pooled.variable, pooled.scenario)


def _clause(pooled: Score, rows: Sequence[Score], reference: str, confidence: float) -> str:
    """One scenario's part of a sentence."""
    where = f"{under(pooled.scenario).strip()} " if pooled.scenario else ""
    if pooled.verdict == "unknown" or not rows:
        return f"{where}not judged"
    value, low, high = pooled.skill
    interval = (
        f"{100 * confidence:.0f} % interval {in_percent(low)} to {in_percent(high)}"
        if pooled.has_interval
        else "no interval"
    )
    text = f"{where}{_WORDS[pooled.verdict]} {reference} ({in_percent(value)} %, {interval})"
    if pooled.has_interval and not any(row.has_interval for row in rows):
        return f"{text}; each lead has too few cases to be judged by itself"
    others = [
        f"{_AT[verdict]} {_span(run)} ({_size(run)})"
        for verdict, run in ((key, list(group)) for key, group in groupby(rows, key=lambda score: score.verdict))
        if verdict != pooled.verdict
    ]
    if not others:
        return text if len(rows) < 2 else f"{text}, at each lead alike"
    return f"{text}, but {_listed(others)}"


def _span(run: Sequence[Score]) -> str:
    """First and last lead of neighbouring rows; leads that are not dates have their unit before them."""
    first, last = run[0].lead.split("–")[0], run[-1].lead.split("–")[-1]
    unit, of, length = run[0].lead_units.partition(" of ")  # steps of 7 days
    span = f"{unit.removesuffix('s')} {first}" if first == last else f"{unit} {first}–{last}"
    return f"{span.strip()}{of}{length}"


def _size(run: Sequence[Score]) -> str:
    if len(run) == 1 and run[0].has_interval:
        value, low, high = run[0].skill
        return f"{in_percent(value)} %, {in_percent(low)} to {in_percent(high)}"
    return f"{in_percent(float(np.mean([score.skill[0] for score in run])))} %"


def _joint_verdict(skills: Sequence[Interval]) -> str:
    """Over all variables and scenarios that were judged: what holds of all, or in part, or ``mixed``."""
    found = {verdict_of(skill) for skill in skills} - {"unknown"}
    if {"better", "worse"} <= found:
        return "mixed"
    clear = found - {"open"}
    if clear and "open" in found:
        return f"partly {clear.pop()}"
    return next(iter(found), "unknown")


def _named(model: str, reference: str) -> str:
    return f"{model} (the reference)" if model == reference else model


def _listed(names: Sequence[str]) -> str:
    """A list in words."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warning_sentences(warnings: Mapping[str, Sequence[str]], *, issuing: str) -> list[str]:
    """What the checks of generative failure raised for the issuing model."""
    return [f"A check of {issuing} was raised: {text}" for text in warnings.get(issuing, ())]
