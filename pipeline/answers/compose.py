"""Questions in Python: ``prob((var("tas").mean(over="point(40, -105)") > "record").any(time="2050..2059"))``.

The same steps as the text form, as methods; ``&``, ``|`` and ``~`` for and, or, not. Nothing is computed here: the
result is the tree that every other spelling leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from pipeline.events.errors import QuestionError
from pipeline.events.kinds import check_question, kind_of
from pipeline.events.parse import (
    parse_clause,
    parse_duration,
    parse_expression,
    parse_reference,
    parse_region,
    parse_run,
    parse_threshold,
    parse_window,
)
from pipeline.events.tree import (
    Anomaly,
    Ask,
    Comparison,
    Expression,
    First,
    Negation,
    Operator,
    Question,
    Reduction,
    Rolling,
    Then,
    combine,
)
from pipeline.events.write import expression_text


class Event:
    """An expression under construction: a number or a condition, one step longer with each method.

    Args:
        node: The tree so far; begin with :func:`var`.

    Raises:
        QuestionError: A step that does not fit the kind of what is before it.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Expression) -> None:
        """Check the kind of the last step."""
        kind_of(node)
        self.node = node

    def __repr__(self) -> str:
        """The expression as text."""
        return expression_text(self.node)

    def __bool__(self) -> NoReturn:
        """Refused: it would silently drop half an event."""
        raise TypeError("An event has no truth value before it is asked: use & | ~ and .between(a, b).")

    def __eq__(self, other: object) -> bool:
        """Whether the trees are equal."""
        return isinstance(other, Event) and self.node == other.node

    def anom(self, *, clim: str | None = None) -> Event:
        """Minus the reference mean."""
        return Event(Anomaly(self.node, None if clim is None else parse_reference(clim)))

    def roll(self, **length: str) -> Event:
        """A trailing window: ``roll(mean="3 months")``."""
        if len(length) != 1 or not set(length) <= {"mean", "max", "min", "sum"}:
            raise QuestionError("parse", '.roll takes one of mean, max, min, sum: roll(mean="3 months").')
        ((verb, text),) = length.items()
        return Event(Rolling(self.node, verb, parse_duration(text)))

    def mean(self, *, over: str | None = None, time: str | None = None) -> Event:
        """The mean over a region (by area) or a window (by length of step)."""
        return self._reduced("mean", over, time)

    def max(self, *, over: str | None = None, time: str | None = None) -> Event:
        """The highest value of a region's cells or a window's steps."""
        return self._reduced("max", over, time)

    def min(self, *, over: str | None = None, time: str | None = None) -> Event:
        """The lowest value of a region's cells or a window's steps."""
        return self._reduced("min", over, time)

    def sum(self, *, over: str | None = None, time: str | None = None) -> Event:
        """The area integral over a region, or the total over a window (a rate becomes an amount)."""
        return self._reduced("sum", over, time)

    def any(self, *, over: str | None = None, time: str | None = None) -> Event:
        """Some cell, or some step."""
        return self._reduced("any", over, time)

    def all(self, *, over: str | None = None, time: str | None = None) -> Event:
        """Every cell, or every step."""
        return self._reduced("all", over, time)

    def frac(self, *, over: str) -> Event:
        """The share of a region's area."""
        return self._reduced("frac", over, None)

    def count(self, *, time: str) -> Event:
        """How many steps."""
        return self._reduced("count", None, time)

    def run(self, *, time: str) -> Event:
        """The longest unbroken run of steps."""
        return self._reduced("run", None, time)

    def first(self, *, time: str, run: int = 1) -> Event:
        """When the first run of ``run`` steps begins."""
        return Event(First(self.node, parse_window(time), parse_run(str(run))))

    def then(self, event: Event, *, within: str) -> Event:
        """This, and ``event`` at some step of the next ``within``."""
        return Event(Then(self.node, event.node, parse_duration(within)))

    def between(self, lower: str, upper: str) -> Event:
        """At least ``lower`` and less than ``upper``."""
        return self._compared("between", lower, upper)

    def outside(self, lower: str, upper: str) -> Event:
        """Less than ``lower``, or at least ``upper``."""
        return self._compared("outside", lower, upper)

    def __gt__(self, threshold: str) -> Event:
        """Above a threshold."""
        return self._compared("above", threshold)

    def __ge__(self, threshold: str) -> Event:
        """At least a threshold."""
        return self._compared("at_least", threshold)

    def __lt__(self, threshold: str) -> Event:
        """Below a threshold."""
        return self._compared("below", threshold)

    def __le__(self, threshold: str) -> Event:
        """At most a threshold."""
        return self._compared("at_most", threshold)

    def __and__(self, other: Event) -> Event:
        """Both."""
        return Event(combine("and", (self.node, other.node)))

    def __or__(self, other: Event) -> Event:
        """Either."""
        return Event(combine("or", (self.node, other.node)))

    def __invert__(self) -> Event:
        """Not."""
        return Event(Negation(self.node))

    def _reduced(self, verb: str, over: str | None, time: str | None) -> Event:
        if (over is None) == (time is None):
            raise QuestionError("parse", f".{verb} takes over=<region> or time=<window>, one at a time.")
        axis = parse_window(time) if over is None and time is not None else parse_region(str(over))
        return Event(Reduction(self.node, verb, axis))

    def _compared(self, operator: Operator, *thresholds: str) -> Event:
        return Event(Comparison(self.node, operator, tuple(parse_threshold(str(text)) for text in thresholds)))


def var(name: str) -> Event:
    """A stored variable, by its short name, CF standard name or alias."""
    return Event(parse_expression(name))


def prob(
    event: Event,
    *,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """How likely is it?"""
    return _question("prob", event, given=given, scenario=scenario, forecast=forecast)


def map_of(
    event: Event,
    *,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """How likely is it, cell by cell?"""
    return _question("map", event, given=given, scenario=scenario, forecast=forecast)


def series(
    event: Event,
    *,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """How likely is it, step by step?"""
    return _question("series", event, given=given, scenario=scenario, forecast=forecast)


def dist(
    field: Event,
    *,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """Which values, and how often?"""
    return _question("dist", field, given=given, scenario=scenario, forecast=forecast)


def value(
    field: Event,
    *,
    exceeded: str,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """Which value is exceeded with a given chance, such as ``"10 %"``?"""
    clause = dict([parse_clause(f"exceeded with {exceeded}")])
    return _question("value", field, given=given, scenario=scenario, forecast=forecast, **clause)


def level(
    field: Event,
    *,
    return_period: str,
    given: Event | None = None,
    scenario: str | Sequence[str] = (),
    forecast: str | None = None,
) -> Question:
    """Which value is exceeded once in so many years on average, such as ``"20 years"``?"""
    clause = dict([parse_clause(f"return {return_period}")])
    return _question("level", field, given=given, scenario=scenario, forecast=forecast, **clause)


def _question(
    ask: Ask,
    event: Event,
    *,
    given: Event | None,
    scenario: str | Sequence[str],
    forecast: str | None,
    **clauses: object,
) -> Question:
    names = (scenario,) if isinstance(scenario, str) else tuple(scenario)
    condition = None if given is None else given.node
    return check_question(
        Question(event.node, ask, given=condition, scenarios=names, forecast=forecast, **clauses)  # type: ignore[arg-type]
    )
