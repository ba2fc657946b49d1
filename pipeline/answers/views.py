"""What can be drawn beside an answer, as plain data: the number behind the event, and its course over the leads.

The figures of a notebook and the page of the service draw the same numbers, so every number on a screen comes from the
same members as the answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.evaluate import evaluate, threshold_values
from pipeline.answers.probability import Inquiry
from pipeline.answers.trajectories import Need
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import check_question, kind_of
from pipeline.events.tree import (
    Combination,
    Comparison,
    Expression,
    Question,
    Reduction,
    Region,
    Then,
    Variable,
    children,
)

Array = NDArray[Any]
View = dict[str, Any]

MOST_PAST = 24  # steps of the record that are shown before the start, at most as many as there are leads
BAND = (5, 95)


def exceedance(inquiry: Inquiry) -> View | None:
    """Each member's value of the number that the event compares, and the reference's; None where it is not one number.

    Returns:
        ``quantity`` (``number``, or ``share`` of an area), ``units``, ``operator``, ``thresholds``, ``values`` by
        scenario and ``reference``.
    """
    node = inquiry.question.subject
    source = node.source if isinstance(node, Comparison) else node
    kind = kind_of(source)
    if kind.quantity not in ("number", "share") or kind.space or kind.time:
        return None
    factor, units = inquiry.measure(source).shown
    values = factor * inquiry.values(source).known()[..., 0, 0]
    return {
        "quantity": kind.quantity,
        "units": units,
        "operator": node.operator if isinstance(node, Comparison) else None,
        "thresholds": _thresholds(inquiry, node, factor) if isinstance(node, Comparison) else [],
        "values": {name: _plain(part.ravel()) for name, part in zip(_scenarios(inquiry), values, strict=True)},
        "reference": _plain(factor * _usual(inquiry, source)),
    }


def plume(inquiry: Inquiry) -> View | None:
    """The course of the number behind a question over the leads; None where it has none that is one number a step.

    Returns:
        ``units``, ``dates``, ``members`` by scenario ``(member, lead)`` and the ``numbers`` of the members, ``low`` and
        ``high`` of the reference at each place in the calendar, ``past``, and ``thresholds`` where they are in the same
        units.
    """
    found = _course(inquiry.question.subject)
    if found is None:
        return None
    node, comparison = found
    whole = Need(None, 0, inquiry.timeline.size)
    factor, units = inquiry.measure(node).shown
    values = factor * evaluate(node, whole, inquiry.members, inquiry.usual).known()[..., 0, 0]
    band = factor * _band(inquiry, node)
    timeline = inquiry.timeline
    return {
        "units": units,
        "dates": [timeline.name(step) for step in range(timeline.size)],
        "members": {
            name: [_plain(row) for row in part] for name, part in zip(_scenarios(inquiry), values, strict=True)
        },
        "numbers": inquiry.member.tolist(),
        "low": _plain(band[0]),
        "high": _plain(band[1]),
        "past": _past(inquiry, node, factor),
        "thresholds": [] if comparison is None else _thresholds(inquiry, comparison, factor),
    }


def map_question(question: Question) -> Question | None:
    """The same question at every cell, where leaving out its regions gives one that makes sense."""
    try:
        return check_question(replace(question, ask="map", subject=_everywhere(question.subject), given=None))
    except QuestionError:
        return None


def _everywhere(node: Expression) -> Expression:
    """An expression without its regions."""
    if isinstance(node, Reduction) and isinstance(node.axis, Region):
        return _everywhere(node.source)
    match node:
        case Variable():
            return node
        case Combination():
            return replace(node, parts=tuple(_everywhere(part) for part in node.parts))
        case Then():
            return replace(node, source=_everywhere(node.source), event=_everywhere(node.event))
        case _:
            return replace(node, source=_everywhere(node.source))


def _course(node: Expression, comparison: Comparison | None = None) -> tuple[Expression, Comparison | None] | None:
    """The first number on the way down that is closed in space and open in time, and what it is compared with."""
    kind = kind_of(node)
    if kind.quantity == "number" and not kind.space and kind.time:
        return node, comparison
    if isinstance(node, Comparison):
        comparison = node if kind_of(node.source).quantity == "number" else None
    elif isinstance(node, Reduction) and node.verb == "sum":
        comparison = None
    below = children(node)
    return _course(below[0], comparison) if below else None


def _thresholds(inquiry: Inquiry, node: Comparison, factor: float) -> list[float]:
    """Thresholds that are one number; a relative one that varies by step is left out."""
    whole = Need(None, 0, inquiry.timeline.size)
    values = [threshold_values(node, one, whole, inquiry.members, inquiry.usual) for one in node.thresholds]
    return [factor * float(value.ravel()[0]) for value in values if np.unique(value).size == 1]


def _band(inquiry: Inquiry, node: Expression) -> Array:
    """The reference's 5th and 95th percentile at each step, NaN where it does not say."""
    known = {}
    for clock in np.unique(inquiry.timeline.clock):
        try:
            values = inquiry.climate.sample(node, None, clock=float(clock)).values
            known[clock] = np.nanpercentile(values, BAND)
        except QuestionError:
            known[clock] = np.full(2, np.nan)
    return np.stack([known[clock] for clock in inquiry.timeline.clock], axis=1)


def _past(inquiry: Inquiry, node: Expression, factor: float) -> View:
    """The reference record just before the forecast began; nothing where it ends earlier."""
    record = inquiry.climate.record
    before = np.flatnonzero(record.timeline.keys < inquiry.timeline.keys[0])[-min(inquiry.timeline.size, MOST_PAST) :]
    follows = before.size and record.timeline.bounds.values[before[-1], 1] == inquiry.timeline.bounds.values[0, 0]
    if not follows:
        return {"dates": [], "values": []}
    need = Need(None, 0, int(before[-1]) + 1)
    values = evaluate(node, need, record.whole(), inquiry.climate).known()[0, 0, :, 0, 0]
    return {"dates": [record.timeline.name(int(step)) for step in before], "values": _plain(factor * values[before])}


def _usual(inquiry: Inquiry, node: Expression) -> Array:
    try:
        values = inquiry.climate.sample(node, None).values.ravel()
    except QuestionError:
        return np.empty(0)
    return values[~np.isnan(values)]


def _scenarios(inquiry: Inquiry) -> tuple[str, ...]:
    return inquiry.scenarios or ("",)


def _plain(values: Array) -> list[float | None]:
    """Numbers for JSON: seven digits, None for what is missing."""
    return [None if not np.isfinite(value) else float(f"{value:.7g}") for value in values]
