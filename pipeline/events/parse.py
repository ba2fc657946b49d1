"""Text to tree, by recursive descent over the grammar of the question language.

.. code-block:: text

    question  = [ ask ] expr { clause }
    ask       = "prob" | ("map" | "series") "of" [ "prob" ] | ("dist" | "value" | "level") "of"
    clause    = ["not"] "exceeded with" PERCENT | "return" INT "years" | "given" expr
              | "scenario" NAME [ "vs" NAME ] | "forecast" ID
    expr      = and { ("or" | "|") and }
    and       = not { ("and" | "&") not }
    not       = { "not" | "~" } compare
    compare   = chain [ operator threshold | ("between" | "outside") threshold "and" threshold ]
    operator  = ">=" | ">" | "<=" | "<" | "at least" | "above" | "at most" | "below"
    chain     = ( NAME | "(" expr ")" ) { "." step }

Each node is checked for its kind the moment it is built, so that an error of meaning also names its column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pipeline.events.errors import QuestionError
from pipeline.events.kinds import check_question, kind_of
from pipeline.events.limits import MAX_STEPS, too_deep, too_many_steps
from pipeline.events.phrases import Phrases
from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Ask,
    Comparison,
    Duration,
    Expression,
    First,
    Negation,
    Operator,
    Question,
    Reduction,
    Reference,
    Region,
    Rolling,
    Then,
    Threshold,
    Variable,
    Window,
    combine,
)

MAX_BRACKETS = 24

_ASKS: dict[str, Ask] = {"map": "map", "series": "series", "dist": "dist", "value": "value", "level": "level"}
_SYMBOLS: dict[str, Operator] = {">": "above", ">=": "at_least", "<": "below", "<=": "at_most"}
_REDUCERS = ("mean", "max", "min", "sum", "any", "all", "frac", "count", "run")
_STEPS = ("anom", "roll", *_REDUCERS, "first", "then")
_CLAUSES = ("exceeded", "not", "return", "given", "scenario", "forecast")

Parsed = TypeVar("Parsed")


def parse(text: str) -> Question:
    """Read a question.

    Raises:
        QuestionError: ``parse`` with a caret below the column, or a refusal of :mod:`pipeline.events.kinds`.
    """
    return _Parser(text).whole(_Parser.question)


def parse_expression(text: str) -> Expression:
    """Read an expression: a condition or a number, without question words and clauses."""
    return _Parser(text).whole(_Parser.expression)


def parse_region(text: str) -> Region:
    """Read a region: a name, ``point(…)``, ``box(…)`` or ``polygon(…)``."""
    return _Parser(text).whole(_Parser.region)


def parse_window(text: str) -> Window:
    """Read a window: ``lead i..j``, dates, a season, ``each … a..b`` or ``all``."""
    return _Parser(text).whole(_Parser.window)


def parse_threshold(text: str) -> Threshold:
    """Read a threshold: ``27 degC``, ``p90``, ``2 sigma``, ``30 %``, ``record`` or a date."""
    return _Parser(text).whole(_Parser.threshold)


def parse_reference(text: str) -> Reference:
    """Read a reference: ``hist:1961-1990`` or ``model``."""
    return _Parser(text).whole(_Parser.reference)


def parse_duration(text: str) -> Duration:
    """Read a duration: ``6 months``."""
    return _Parser(text).whole(_Parser.duration)


def parse_run(text: str) -> int:
    """Read the length of a run: a whole number from 1."""
    return _Parser(text).whole(_Parser.whole_number)


def parse_clause(text: str) -> tuple[str, object]:
    """Read one clause, as the name of a question's field and its value."""
    return _Parser(text).whole(_Parser.clause)


class _Parser(Phrases):
    """One pass over the tokens of one text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.steps = 0
        self.depth = 0

    def whole(self, rule: Callable[[_Parser], Parsed]) -> Parsed:
        """Apply a rule that must use up the text."""
        parsed = rule(self)
        self.end()
        return parsed

    def end(self) -> None:
        """The end of the text, which must be here."""
        if self.now.kind != "end":
            equal = " No number is compared with '=': say between two values." if self.now.text == "=" else ""
            raise self.error("a clause, 'and', 'or', or the end of the question", hint=equal)

    def question(self) -> Question:
        ask: Ask = "prob"
        if self.now.text in _ASKS and self.ahead(1).kind == "word":
            ask = _ASKS[self.take().text]
            if ask == "value":
                self.refuse_bare_rank()
            self.expect("of")
        if ask in ("prob", "map", "series"):
            self.skip("prob")
        begin = self.now.column
        subject = self.expression()
        clauses: dict[str, object] = {}
        while self.now.text in _CLAUSES:
            name, value = self.clause()
            if name in clauses:
                raise self.error(f"one {name.split('_')[0]!r} clause only")
            clauses[name] = value
        if ask == "value":
            self.refuse_bare_rank()
        self.end()
        question = Question(subject, ask, **clauses)  # type: ignore[arg-type]
        return self.placed(begin, lambda: check_question(question))

    def clause(self) -> tuple[str, object]:
        word = self.take().text
        if word == "given":
            return "given", self.expression()
        if word == "scenario":
            names = (self.label("a scenario"),)
            return "scenarios", (*names, self.label("a scenario")) if self.skip("vs") else names
        if word == "forecast":
            return "forecast", self.label("a forecast's date")
        if word == "return":
            years = self.whole_number()
            self.expect("years")
            return "return_years", years
        if word == "not":
            self.expect("exceeded")
        self.expect("with")
        chance = self.percent()
        return "exceeded", chance if word == "exceeded" else round(100 - chance, 9)

    def expression(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_BRACKETS:
            raise too_deep()
        begin = self.now.column
        parts = [self.conjunction()]
        while self.skip("or") or self.skip("|"):
            parts.append(self.conjunction())
        self.depth -= 1
        return self.checked(begin, combine("or", tuple(parts)))

    def conjunction(self) -> Expression:
        begin = self.now.column
        parts = [self.negation()]
        while self.skip("and") or self.skip("&"):
            parts.append(self.negation())
        return self.checked(begin, combine("and", tuple(parts)))

    def negation(self) -> Expression:
        begin = self.now.column
        if self.skip("not") or self.skip("~"):
            self.count_step()
            return self.checked(begin, Negation(self.negation()))
        return self.comparison()

    def comparison(self) -> Expression:
        source = self.chain()
        begin = self.now.column
        operator = self.operator()
        if operator is None:
            return source
        thresholds = [self.threshold()]
        if operator in ("between", "outside"):
            self.expect("and")
            thresholds.append(self.threshold())
            thresholds[0] = _in_the_unit_of(thresholds[1], thresholds[0])
        self.count_step()
        return self.checked(begin, Comparison(source, operator, tuple(thresholds)))

    def operator(self) -> Operator | None:
        word = self.now.text
        if word in _SYMBOLS:
            return _SYMBOLS[self.take().text]
        if word == "at" and self.ahead(1).text in ("least", "most"):
            self.take()
            return "at_least" if self.take().text == "least" else "at_most"
        if word in ("above", "below", "between", "outside"):
            self.take()
            return word  # type: ignore[return-value]
        return None

    def chain(self) -> Expression:
        if self.skip("("):
            node = self.expression()
            self.expect(")")
        elif self.now.kind == "word":
            node = Variable(self.take().text)
        else:
            raise self.error("a variable or '('")
        while self.skip("."):
            begin = self.now.column
            self.count_step()
            node = self.checked(begin, self.step(node))
        return node

    def step(self, source: Expression) -> Expression:
        verb = self.choice(_STEPS, "a step")
        if verb == "anom" and self.now.text != "(":
            return Anomaly(source)
        self.expect("(")
        node = self.arguments(verb, source)
        self.expect(")")
        return node

    def arguments(self, verb: str, source: Expression) -> Expression:
        if verb == "anom":
            return Anomaly(source, self.keyword("clim", self.reference) if self.now.text != ")" else None)
        if verb == "roll":
            word = self.choice(("mean", "max", "min", "sum"), "mean=, max=, min= or sum=")
            self.expect("=")
            return Rolling(source, word, self.duration())
        if verb == "then":
            event = self.expression()
            self.expect(",")
            return Then(source, event, self.keyword("within", self.duration))
        if verb == "first":
            window = self.keyword("time", self.window)
            return First(source, window, self.keyword("run", self.whole_number) if self.skip(",") else 1)
        if self.now.text == "over":
            return Reduction(source, verb, self.keyword("over", self.region))
        if self.now.text == "time":
            return Reduction(source, verb, self.keyword("time", self.window))
        raise self.error(f"over=<region> or time=<window>: .{verb} has no default")

    def keyword(self, name: str, rule: Callable[[], Parsed]) -> Parsed:
        self.expect(name)
        self.expect("=")
        return rule()

    def count_step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise too_many_steps()

    def checked(self, column: int, node: Expression) -> Expression:
        self.placed(column, lambda: kind_of(node))
        return node

    def placed(self, column: int, check: Callable[[], Parsed]) -> Parsed:
        """Run a check, and say in its error where the text went wrong."""
        try:
            return check()
        except QuestionError as error:
            if not (error.where or "").startswith("column"):
                error.where = f"column {column}" + (f", {error.where}" if error.where else "")
            raise


def _in_the_unit_of(second: Threshold, first: Threshold) -> Threshold:
    """``between 280 and 283 K`` means kelvin twice."""
    if isinstance(first, Absolute) and isinstance(second, Absolute) and not first.unit:
        return replace(first, unit=second.unit)
    return first
