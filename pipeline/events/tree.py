"""The tree of a question: what can be asked, as types.

A question is a pipeline that is read from left to right and runs inside each member before members are counted. Four
spellings (text, steps for YAML and JSON, Python, URL) lead to this one tree, and nothing but this tree is evaluated.

Two kinds of value flow through it, numbers and conditions, with two axes that may still be open: space and time.
:mod:`pipeline.events.kinds` says what each node takes and gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operator = Literal["above", "at_least", "below", "at_most", "between", "outside"]
Ask = Literal["prob", "map", "series", "dist", "value", "level"]
Ring = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A region that the catalogue knows by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Point:
    """The cell that contains a place; degrees north and east."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Box:
    """A closed box in degrees; ``west`` greater than ``east`` crosses the date line."""

    south: float
    north: float
    west: float
    east: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """Polygons taken together, each its outer ring and then its holes.

    A ring is closed: ``(latitude, longitude)`` vertices in degrees, joined straight in the lat-lon plane.
    """

    parts: tuple[tuple[Ring, ...], ...]

    @property
    def size(self) -> int:
        """How many vertices."""
        return sum(len(ring) for part in self.parts for ring in part)


@dataclass(frozen=True, slots=True)
class Outline:
    """The polygons of a GeoJSON file, not yet read: only the command line and Python open files."""

    path: str


@dataclass(frozen=True, slots=True)
class Leads:
    """Leads ``first`` to ``last``, both included; lead 1 is the first whole step."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Dates:
    """ISO dates ``YYYY[-MM[-DD]]``, both included: ``2027-07`` is the whole month."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Season:
    """Neighbouring months by their initials, or one month by its name; the year is that of its last month."""

    months: str
    year: int | None = None


@dataclass(frozen=True, slots=True)
class Each:
    """One sample for each year ``first..last``: of a season, a month, or (``"year"``) the whole year."""

    part: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class All:
    """Every lead."""


@dataclass(frozen=True, slots=True)
class Duration:
    """So many steps of a unit of time."""

    count: int
    unit: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference other than the catalogue's: ``hist:1961-1990``, or ``model``, the model's own hindcasts.

    Attributes:
        source: ``obs``, ``hist`` or ``model``.
        years: First and last year, both included; only for ``model`` they may be left out, for all that there are.
    """

    source: str
    years: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Absolute:
    """A number with its unit; ``%`` for shares, empty for dimensionless quantities."""

    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Percentile:
    """The value that ``rank`` percent of the reference sample does not exceed."""

    rank: float


@dataclass(frozen=True, slots=True)
class Sigma:
    """The reference mean plus ``factor`` standard deviations of the same sample."""

    factor: float


@dataclass(frozen=True, slots=True)
class Record:
    """The reference sample's highest value for ``above``, its lowest for ``below`` (decision 0003)."""


@dataclass(frozen=True, slots=True)
class Day:
    """A date to compare a first passage with, ``YYYY[-MM[-DD]]``."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A stored variable by its short name, CF standard name or alias."""

    name: str


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Minus the reference mean of the same calendar step (or window) and cell."""

    source: Expression
    clim: Reference | None = None


@dataclass(frozen=True, slots=True)
class Rolling:
    """A trailing window; steps without a whole one are missing."""

    source: Expression
    verb: str
    length: Duration


@dataclass(frozen=True, slots=True)
class Reduction:
    """One axis closed: the cells of a region or the steps of a window."""

    source: Expression
    verb: str
    axis: Region | Window


@dataclass(frozen=True, slots=True)
class First:
    """The date on which the first run of ``run`` true steps begins; never reached counts as after the window."""

    source: Expression
    window: Window
    run: int = 1


@dataclass(frozen=True, slots=True)
class Then:
    """True at a step where ``source`` holds and ``event`` follows within so many steps after it."""

    source: Expression
    event: Expression
    within: Duration


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number against one threshold, or two for ``between`` (a <= x < b) and its complement ``outside``."""

    source: Expression
    operator: Operator
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """``and`` or ``or`` of two or more conditions."""

    word: Literal["and", "or"]
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """``not`` a condition."""

    source: Expression


Region = Named | Point | Box | Polygon | Outline
Window = Leads | Dates | Season | Each | All
Threshold = Absolute | Percentile | Sigma | Record | Day
Expression = Variable | Anomaly | Rolling | Reduction | First | Then | Comparison | Combination | Negation


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an expression, and under which clauses.

    Attributes:
        subject: The condition (``prob``, ``map``, ``series``) or number (``dist``, ``value``, ``level``) asked about.
        ask: The kind of question.
        exceeded: For ``value``: the chance of exceeding it, in percent.
        return_years: For ``level``: the return period in years.
        given: A condition that members must meet to be counted at all.
        scenarios: None, one, or two scenarios to compare.
        forecast: Which initial time, as an ISO date or ``fc-`` and an ISO date; the newest by default.
    """

    subject: Expression
    ask: Ask = "prob"
    exceeded: float | None = None
    return_years: int | None = None
    given: Expression | None = None
    scenarios: tuple[str, ...] = ()
    forecast: str | None = None

    @property
    def parts(self) -> tuple[Expression, ...]:
        """The subject and, where there is one, the condition on it."""
        return (self.subject,) if self.given is None else (self.subject, self.given)


def combine(word: Literal["and", "or"], parts: tuple[Expression, ...]) -> Expression:
    """Join conditions, so that ``(a and b) and c`` and ``a and b and c`` are one tree."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Combination) and part.word == word else (part,))
    return flat[0] if len(flat) == 1 else Combination(word, tuple(flat))


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly below a node."""
    match node:
        case Variable():
            return ()
        case Combination():
            return node.parts
        case Then():
            return (node.source, node.event)
        case _:
            return (node.source,)


def variables_of(*nodes: Expression) -> frozenset[str]:
    """Names of the variables in expressions, as they were written."""
    named = frozenset(node.name for node in nodes if isinstance(node, Variable))
    return named.union(*(variables_of(*children(node)) for node in nodes))


def model_references(*nodes: Expression) -> frozenset[Reference]:
    """The references to the model's own climatology in expressions."""
    named = {node.clim for node in nodes if isinstance(node, Anomaly) and node.clim is not None}
    own = frozenset(reference for reference in named if reference.source == "model")
    return own.union(*(model_references(*children(node)) for node in nodes))
