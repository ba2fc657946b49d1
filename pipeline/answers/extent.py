"""How far in time an expression looks: the steps that it needs, and how far it reaches beside its own step."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.answers.windows import Timeline, resolve
from pipeline.events.errors import QuestionError
from pipeline.events.tree import Duration, Each, Expression, First, Reduction, Region, Rolling, Then, children
from pipeline.events.write import duration_text

_FIXED = {("years", "months"): 12, ("weeks", "days"): 7, ("weeks", "hours"): 168, ("days", "hours"): 24}


def in_unit(count: float, unit: str, own: str) -> float | None:
    """So many of a unit of time in another, as 2 weeks are 14 days; None where that is no fixed number."""
    many = unit if unit.endswith("s") else f"{unit}s"
    factor = 1 if many == own else _FIXED.get((many, own))
    return None if factor is None else count * factor


def steps_of(duration: Duration, timeline: Timeline) -> int:
    """A duration as a number of steps.

    Raises:
        QuestionError: ``unit_wrong``, when it is no whole number of this store's steps.
    """
    if duration.unit in ("step", "steps"):
        return duration.count
    count = in_unit(duration.count, duration.unit, timeline.unit)
    if count is None or count % timeline.step:
        step = f"{timeline.step} {timeline.unit}" if timeline.step > 1 else f"one {timeline.unit[:-1]}"
        raise QuestionError(
            "unit_wrong",
            f"'{duration.count} {duration.unit}' is no whole number of this store's steps, which are {step} long.",
            where=f"{duration.count} {duration.unit}",
        )
    return int(count // timeline.step)


def rolled_steps(node: Rolling, timeline: Timeline) -> int:
    """The steps of a running window.

    Raises:
        QuestionError: ``beyond_horizon``, when not one such window lies within the timeline.
    """
    length = steps_of(node.length, timeline)
    if length > timeline.size:
        raise QuestionError(
            "beyond_horizon",
            f"{duration_text(node.length)} are longer than this forecast, which ends at lead {timeline.size}: not one "
            f"running {node.verb} is whole.",
            where=duration_text(node.length),
        )
    return length


def span_of(node: Expression, timeline: Timeline, inner: tuple[int, int] | None = None) -> tuple[int, int]:
    """The half-open range of steps that an expression closed in time looks at; of ``each``, its first year."""
    start, stop = inner or (0, timeline.size)
    match node:
        case Reduction() if not isinstance(node.axis, Region):
            steps = resolve(node.axis, timeline)
            return span_of(node.source, timeline, steps.groups[0] if isinstance(node.axis, Each) else steps.span)
        case First():
            return span_of(node.source, timeline, resolve(node.window, timeline).span)
        case Rolling():
            return span_of(node.source, timeline, (max(0, start - rolled_steps(node, timeline) + 1), stop))
        case Then():
            ahead = min(timeline.size, stop + steps_of(node.within, timeline))
            return _union(span_of(node.source, timeline, (start, stop)), span_of(node.event, timeline, (start, ahead)))
        case _ if children(node):
            return _union(*(span_of(child, timeline, inner) for child in children(node)))
        case _:
            return start, stop


def span_of_all(nodes: Iterable[Expression], timeline: Timeline) -> tuple[int, int]:
    """The half-open range of steps that several expressions look at together."""
    return _union(*(span_of(node, timeline) for node in nodes))


def reach_of(node: Expression, timeline: Timeline) -> tuple[int, int]:
    """How many steps before and after its own an expression that is open in time looks at."""
    below = [reach_of(child, timeline) for child in children(node)] or [(0, 0)]
    back, ahead = max(back for back, _ in below), max(ahead for _, ahead in below)
    match node:
        case Rolling():
            return back + rolled_steps(node, timeline) - 1, ahead
        case Then():
            return back, ahead + steps_of(node.within, timeline)
        case _:
            return back, ahead


def _union(*spans: tuple[int, int]) -> tuple[int, int]:
    return min(start for start, _ in spans), max(stop for _, stop in spans)
