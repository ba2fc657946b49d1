"""The tree as canonical text: what the parser reads back into the same tree."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.events.tree import (
    Absolute,
    All,
    Anomaly,
    Box,
    Combination,
    Comparison,
    Dates,
    Day,
    Duration,
    Each,
    Expression,
    First,
    Leads,
    Named,
    Negation,
    Outline,
    Percentile,
    Point,
    Polygon,
    Question,
    Record,
    Reduction,
    Reference,
    Region,
    Ring,
    Rolling,
    Season,
    Sigma,
    Then,
    Threshold,
    Variable,
    Window,
)

SYMBOLS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<=", "between": "between", "outside": "outside"}


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def region_text(region: Region) -> str:
    """``nino34``, ``point(40.4, -3.7)``, ``box(lat=40..65, lon=-60..0)`` or ``polygon(36 -10, 36 3, … hole …)``."""
    match region:
        case Named():
            return region.name
        case Point():
            return f"point({number(region.latitude)}, {number(region.longitude)})"
        case Box():
            lat = f"{number(region.south)}..{number(region.north)}"
            return f"box(lat={lat}, lon={number(region.west)}..{number(region.east)})"
        case Polygon():
            return f"polygon({' part '.join(' hole '.join(map(_ring_text, part)) for part in region.parts)})"
        case Outline():
            return f"polygon({region.path})"


def window_text(window: Window) -> str:
    """``lead 1..3``, ``2050..2059``, ``DJF 2028``, ``each JJA 2070..2099`` or ``all``."""
    match window:
        case Leads():
            return f"lead {window.first}..{window.last}"
        case Dates():
            return window.start if window.start == window.end else f"{window.start}..{window.end}"
        case Season():
            return window.months if window.year is None else f"{window.months} {window.year}"
        case Each():
            return f"each {window.part} {window.first}..{window.last}"
        case All():
            return "all"


def threshold_text(threshold: Threshold) -> str:
    """``27 degC``, ``p90``, ``2 sigma``, ``record`` or a date."""
    match threshold:
        case Absolute():
            return f"{number(threshold.value)} {threshold.unit}".rstrip()
        case Percentile():
            return f"p{number(threshold.rank)}"
        case Sigma():
            return f"{number(threshold.factor)} sigma"
        case Record():
            return "record"
        case Day():
            return threshold.text


def duration_text(duration: Duration) -> str:
    """``6 months``."""
    return f"{duration.count} {duration.unit}"


def reference_text(reference: Reference) -> str:
    """``hist:1961-1990``, or ``model``."""
    years = "" if reference.years is None else ":{}-{}".format(*reference.years)
    return reference.source + years


def step_text(node: Expression) -> str:
    """The last step of a chain on its own, as errors name it: ``.mean(time=2050)``."""
    match node:
        case Anomaly():
            return ".anom" if node.clim is None else f".anom(clim={reference_text(node.clim)})"
        case Rolling():
            return f".roll({node.verb}={duration_text(node.length)})"
        case Reduction():
            if isinstance(node.axis, Region):
                return f".{node.verb}(over={region_text(node.axis)})"
            return f".{node.verb}(time={window_text(node.axis)})"
        case First():
            run = "" if node.run == 1 else f", run={node.run}"
            return f".first(time={window_text(node.window)}{run})"
        case Then():
            return f".then({expression_text(node.event)}, within={duration_text(node.within)})"
        case Comparison():
            between = f" {SYMBOLS[node.operator]} "
            return between + " and ".join(threshold_text(threshold) for threshold in node.thresholds)
        case _:
            return expression_text(node)


def expression_text(node: Expression) -> str:
    """An expression as text."""
    match node:
        case Variable():
            return node.name
        case Combination():
            parts = (_closed(part, Combination) for part in node.parts)
            return f" {node.word} ".join(parts)
        case Negation():
            return f"not {_closed(node.source, Combination | Negation)}"
        case _:
            return _closed(node.source, Combination | Negation | Comparison) + step_text(node)


def question_text(question: Question) -> str:
    """A question as canonical text; :func:`pipeline.events.parse` gives the same tree back."""
    words = [question.ask if question.ask == "prob" else f"{question.ask} of", expression_text(question.subject)]
    if question.exceeded is not None:
        words.append(f"exceeded with {number(question.exceeded)} %")
    if question.return_years is not None:
        words.append(f"return {question.return_years} years")
    if question.given is not None:
        words.append(f"given {expression_text(question.given)}")
    if question.scenarios:
        words.append(f"scenario {' vs '.join(question.scenarios)}")
    if question.forecast is not None:
        words.append(f"forecast {question.forecast}")
    return " ".join(words)


def question_url(question: Question) -> str:
    """A question as the query part of a URL, ``q=…``."""
    return f"q={quote(question_text(question), safe='(),.~:')}"


def _ring_text(ring: Ring) -> str:
    return ", ".join(f"{number(latitude)} {number(longitude)}" for latitude, longitude in ring)


def _closed(node: Expression, kinds: type | object) -> str:
    """The text of a part, in brackets where its own words would otherwise run into its neighbours'."""
    text = expression_text(node)
    return f"({text})" if isinstance(node, kinds) else text  # type: ignore[arg-type]
