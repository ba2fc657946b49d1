"""What each node of a question takes and gives, so that a wrong order is a sentence and not a wrong number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.events.errors import QuestionError
from pipeline.events.limits import check_limits
from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Combination,
    Comparison,
    Day,
    Each,
    Expression,
    First,
    Negation,
    Percentile,
    Question,
    Record,
    Reduction,
    Region,
    Rolling,
    Sigma,
    Then,
    Threshold,
    Variable,
    model_references,
)
from pipeline.events.write import step_text, threshold_text

Quantity = Literal["number", "steps", "share", "date", "condition"]
_NUMBERS = ("mean", "max", "min", "sum")


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of an expression's value.

    Attributes:
        quantity: A climate number, a number of steps, a share of area, a date, or a condition.
        space: Whether it still varies from cell to cell.
        time: Whether it still varies from step to step.
        each: The window that made one sample of each year, if one did.
    """

    quantity: Quantity
    space: bool = True
    time: bool = True
    each: Each | None = None


def kind_of(node: Expression) -> Kind:
    """The kind of an expression.

    Raises:
        QuestionError: ``wrong_kind`` or ``still_varies``, with the step named in ``where``.
    """
    match node:
        case Variable():
            return Kind("number")
        case Anomaly() | Rolling():
            kind = _numeric(node, kind_of(node.source))
            if isinstance(node, Rolling) and not kind.time:
                raise _axis_closed(node, "time")
            return kind
        case Reduction():
            return _reduced(node, kind_of(node.source))
        case First():
            kind = _condition(node, kind_of(node.source))
            if isinstance(node.window, Each):
                raise _wrong(node, ".first needs one window, such as time=2050..2059; 'each' has one for every year.")
            return replace(_closed_in_time(node, kind), quantity="date")
        case Then():
            return _joined(node, (_varying(node, node.source), _varying(node, node.event)))
        case Comparison():
            return _compared(node, kind_of(node.source))
        case Combination():
            return _joined(node, tuple(_condition(node, kind_of(part)) for part in node.parts))
        case Negation():
            return _condition(node, kind_of(node.source))


def is_date(threshold: Threshold, kind: Kind) -> bool:
    """Whether a threshold is a date; beside a first passage a bare ``2050`` is a year."""
    if isinstance(threshold, Day):
        return True
    bare = isinstance(threshold, Absolute) and not threshold.unit and threshold.value in range(10_000)
    return bare and kind.quantity == "date"


def check_question(question: Question) -> Question:
    """Check that a question can be asked of its subject, and return it.

    Raises:
        QuestionError: ``wrong_kind``, ``still_varies``, ``reference_period``, or ``parse`` for a question that is too
            large.
    """
    check_limits(question)
    kind = kind_of(question.subject)
    asks_condition = question.ask in ("prob", "map", "series")
    if asks_condition and kind.quantity != "condition":
        raise QuestionError(
            "wrong_kind", f"'{question.ask}' asks about a condition: compare the number, for example with '> 27 degC'."
        )
    if not asks_condition and kind.quantity == "condition":
        raise QuestionError("wrong_kind", f"'{question.ask}' asks about a number, not about a condition.")
    _check_axes(question, kind)
    _check_clauses(question, kind)
    _check_model_reference(question)
    return question


def _check_axes(question: Question, kind: Kind) -> None:
    """A question closes both axes, but for the one that it leaves open on purpose."""
    open_space, open_time = question.ask == "map", question.ask == "series"
    if kind.space != open_space:
        if open_space:
            raise QuestionError("wrong_kind", "'map' needs a condition that varies in space: leave out over=<region>.")
        raise QuestionError(
            "still_varies",
            "The event still varies in space: say over=<region> (.mean .any .all .frac), or ask for a map.",
        )
    if kind.time != open_time:
        if open_time:
            raise QuestionError(
                "wrong_kind", "'series' needs a condition that varies in time: leave out time=<window>."
            )
        raise QuestionError(
            "still_varies",
            "The event still varies in time: say time=<window> (.mean .any .all .count .run .first), or ask for a "
            "series.",
        )


def _check_clauses(question: Question, kind: Kind) -> None:
    """Clauses belong to their questions."""
    wanted = {"value": question.exceeded, "level": question.return_years}
    if question.ask in wanted and wanted[question.ask] is None:
        clause = {"value": "'exceeded with 10 %'", "level": "'return 20 years'"}[question.ask]
        raise QuestionError("parse", f"'{question.ask} of' needs {clause} after the quantity.")
    if question.exceeded is not None and question.ask != "value":
        raise QuestionError("wrong_kind", "'exceeded with' belongs to 'value of'.")
    if question.return_years is not None and question.ask != "level":
        raise QuestionError("wrong_kind", "'return … years' belongs to 'level of'.")
    if question.ask == "level" and kind.each is None:
        raise QuestionError("wrong_kind", "'level of' needs one value a year: .max(time=each year 2040..2069).")
    if question.ask in ("value", "level") and kind.quantity == "date":
        raise QuestionError(
            "wrong_kind", f"'{question.ask} of' is for numbers; of a date ask 'dist of', or compare it."
        )
    if question.given is not None:
        given = kind_of(question.given)
        if given.quantity != "condition" or given.space or given.time or given.each is not None:
            raise QuestionError(
                "still_varies", "'given' needs one condition for each member, closed in space and time."
            )


def _check_model_reference(question: Question) -> None:
    """A model's own climatology is of one period in all of a question."""
    references = model_references(*question.parts)
    if len(references) > 1:
        text = (
            "A question takes one period of the model's own climatology: give 'clim=model' the same years throughout."
        )
        raise QuestionError("reference_period", text, where="clim=model")


def _reduced(node: Reduction, kind: Kind) -> Kind:
    """The kind after one axis is closed."""
    kind = _numeric(node, kind) if node.verb in _NUMBERS else _condition(node, kind)
    if isinstance(node.axis, Region):
        if node.verb in ("count", "run"):
            raise _wrong(node, f".{node.verb} counts steps of time; for a share of the area write .frac(over=…).")
        if not kind.space:
            raise _axis_closed(node, "space")
        return replace(kind, space=False, quantity="share" if node.verb == "frac" else kind.quantity)
    if node.verb == "frac":
        raise _wrong(node, ".frac is a share of the area (over=…); for time write .count(time=…).")
    kind = _closed_in_time(node, kind)
    kind = replace(kind, each=node.axis if isinstance(node.axis, Each) else None)
    return replace(kind, quantity="steps") if node.verb in ("count", "run") else kind


def _compared(node: Comparison, kind: Kind) -> Kind:
    """The kind of a comparison, whose thresholds must suit the quantity."""
    if kind.quantity == "condition":
        raise _wrong(node, "Only numbers can be compared; this is a condition already.")
    for threshold in node.thresholds:
        if is_date(threshold, kind) != (kind.quantity == "date"):
            raise _wrong(node, "Dates compare with .first(…) only, and .first(…) with dates only: '<= 2027-10'.")
        if isinstance(threshold, Record) and node.operator in ("between", "outside"):
            raise _wrong(node, "'record' goes with above or below: the highest or the lowest of the reference.")
        percent = isinstance(threshold, Absolute) and threshold.unit == "%"
        if percent and kind.quantity != "share":
            raise _wrong(node, "'%' belongs to .frac(over=…) and to chances; for a relative threshold write p90.")
        if kind.quantity == "share" and isinstance(threshold, Absolute) and not percent:
            raise _wrong(node, "A share of area compares with a percentage: '>= 30 %'.")
    if len(node.thresholds) == 2 and _is_empty(*node.thresholds):
        low, high = map(threshold_text, node.thresholds)
        raise _wrong(node, f"Nothing lies between {low} and {high}: write the lower one first.")
    return replace(kind, quantity="condition")


def _is_empty(low: Threshold, high: Threshold) -> bool:
    """Whether no value can lie between two thresholds, as far as their text alone can tell."""
    match low, high:
        case Absolute(), Absolute():
            return low.unit == high.unit and low.value >= high.value
        case Percentile(), Percentile():
            return low.rank >= high.rank
        case Sigma(), Sigma():
            return low.factor >= high.factor
        case Day(), Day():
            return low.text >= high.text
    return False


def _joined(node: Expression, kinds: tuple[Kind, ...]) -> Kind:
    """The kind of conditions taken together: an axis is open if it is open in all of them, never in some."""
    first = kinds[0]
    for kind in kinds[1:]:
        if kind.space != first.space or kind.time != first.time:
            axis = "space" if kind.space != first.space else "time"
            raise QuestionError(
                "still_varies",
                f"One part of '{step_text(node)}' still varies in {axis}, another does not: close it in both.",
                where=step_text(node),
            )
        if kind.each != first.each:
            raise _wrong(node, "Parts that are pooled over years (each …) must share the same 'each' window.")
    return first


def _varying(node: Then, part: Expression) -> Kind:
    """The kind of one side of ``then``."""
    kind = _condition(node, kind_of(part))
    if not kind.time:
        raise _wrong(node, ".then joins conditions that vary in time; put time=<window> after it.")
    return kind


def _closed_in_time(node: Reduction | First, kind: Kind) -> Kind:
    if not kind.time:
        raise _axis_closed(node, "time")
    return replace(kind, time=False)


def _numeric(node: Expression, kind: Kind) -> Kind:
    if kind.quantity == "condition":
        name = getattr(node, "verb", "anom") if isinstance(node, Reduction) else step_text(node)[1:5]
        raise _wrong(node, f".{name}() is for numbers; on a condition use .any .all .frac .count .run or .first.")
    if kind.quantity == "date":
        raise _wrong(node, "A date (.first) can only be compared, or asked for with 'dist of'.")
    return kind


def _condition(node: Expression, kind: Kind) -> Kind:
    if kind.quantity != "condition":
        name = f".{node.verb}()" if isinstance(node, Reduction) else f"'{step_text(node)}'"
        raise _wrong(node, f"{name} is for conditions; compare the number first, for example (tas > 27 degC).any(…).")
    return kind


def _axis_closed(node: Expression, axis: str) -> QuestionError:
    before = "a region was" if axis == "space" else "a window was"
    return _wrong(node, f"'{step_text(node)}' has no {axis} left to work on: {before} given before.")


def _wrong(node: Expression, text: str) -> QuestionError:
    return QuestionError("wrong_kind", text, where=step_text(node))
