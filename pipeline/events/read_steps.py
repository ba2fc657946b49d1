"""Plain steps (JSON, YAML) and URLs to the tree.

The whole question, or any event in it, may also be one string in the text form, and a region may be GeoJSON. YAML is
read without any implicit type, so that the region ``NO`` stays Norway and ``2027-07-01`` stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs

import yaml

from pipeline.events.errors import QuestionError, nearest
from pipeline.events.geojson import polygon_of
from pipeline.events.kinds import check_question
from pipeline.events.limits import MAX_DEPTH, MAX_STEPS, too_deep, too_many_steps
from pipeline.events.parse import (
    parse,
    parse_clause,
    parse_duration,
    parse_expression,
    parse_reference,
    parse_region,
    parse_run,
    parse_threshold,
    parse_window,
)
from pipeline.events.steps import SUBJECTS
from pipeline.events.tree import (
    Anomaly,
    Ask,
    Comparison,
    Expression,
    First,
    Negation,
    Question,
    Reduction,
    Rolling,
    Then,
    Variable,
    combine,
)

_REDUCERS = ("mean", "max", "min", "sum", "any", "all", "frac", "count", "run")
_OPERATORS = ("above", "at_least", "below", "at_most", "between", "outside")
_STEPS = ("anom", "roll", *_REDUCERS, "first", "then", *_OPERATORS)
_CLAUSES = ("exceeded", "not_exceeded", "return", "given", "scenario", "forecast")

Parsed = TypeVar("Parsed")
Pair = tuple[Question, Question]
"""A question and what it is compared with."""


def from_steps(plain: str | Mapping[str, Any]) -> Question:
    """A question from its steps.

    Raises:
        QuestionError: A key that does not belong, a value that does not parse, or a question without meaning.
    """
    if isinstance(plain, str):
        return parse(plain)
    ask = str(plain.get("ask", "prob"))
    if ask not in SUBJECTS:
        raise _unknown("ask", ask, SUBJECTS)
    subject = SUBJECTS[ask]
    if subject not in plain:
        raise QuestionError("parse", f"'ask: {ask}' needs '{subject}: [steps]' beside it.")
    for key in plain:
        if key not in ("ask", subject, *_CLAUSES):
            raise _unknown("question's key", str(key), (subject, *_CLAUSES))
    clauses = dict(_clause(key, plain[key]) for key in _CLAUSES if key in plain)
    return check_question(Question(_expression(plain[subject]), _ask(ask), **clauses))


def from_yaml(text: str) -> Question:
    """A question from YAML, every scalar read as text.

    Raises:
        QuestionError: Text that is not YAML, or not a question.
    """
    return _question(_plain_yaml(text))


def batch_from_yaml(text: str) -> dict[str, Question | Pair | QuestionError]:
    """Several questions from YAML: a mapping of names to questions, or a list of them.

    An entry ``{ask: question, against: question}`` is two questions to compare. What cannot be read has the error in
    its place, so that it does not stop the others.

    Raises:
        QuestionError: Text that is not YAML, or no questions.
    """
    plain = _plain_yaml(text)
    named = dict(enumerate(plain, start=1)) if isinstance(plain, list) else plain
    if not isinstance(named, Mapping) or not named:
        raise QuestionError("parse", "A file of questions is a mapping of names to questions, or a list of them.")
    return {str(name): _entry_or_error(entry) for name, entry in named.items()}


def _entry_or_error(plain: object) -> Question | Pair | QuestionError:
    try:
        return _entry(plain)
    except QuestionError as error:
        return error


def _entry(plain: object) -> Question | Pair:
    """A question of a file, or two to compare."""
    if not isinstance(plain, Mapping) or "against" not in plain:
        return _question(plain)
    if set(plain) != {"ask", "against"}:
        keys = ", ".join(map(str, plain))
        text = f"A comparison is 'ask: question' and 'against: question', each as text or steps; found {keys}."
        raise QuestionError("parse", text, where="against")
    return _question(plain["ask"]), _question(plain["against"])


def _question(plain: object) -> Question:
    if not isinstance(plain, str | Mapping):
        raise QuestionError("parse", "A question in YAML is a mapping with 'event:', or one string.")
    return from_steps(plain)


def _plain_yaml(text: str) -> object:
    """Text, lists and mappings, and nothing else."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise QuestionError("parse", f"This is not YAML: {error}") from error


def from_url(query: str) -> Question:
    """A question from the query part of a URL.

    Raises:
        QuestionError: No ``q``, more than one, or text that does not parse.
    """
    asked = parse_qs(query.lstrip("?"), keep_blank_values=True).get("q", [])
    if len(asked) != 1:
        raise QuestionError("parse", "The address needs one q=<question>.")
    return parse(asked[0])


def _ask(word: str) -> Ask:
    return word  # type: ignore[return-value]


def _clause(key: str, value: object) -> tuple[str, Any]:
    """One clause as the field of a question."""
    if key == "given":
        return "given", _expression(value)
    if key == "scenario":
        names = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        return parse_clause(f"scenario {' vs '.join(str(name) for name in names)}")
    word = {"exceeded": "exceeded with", "not_exceeded": "not exceeded with"}.get(key, key)
    return parse_clause(f"{word} {value}")


def _expression(steps: object, depth: int = 0) -> Expression:
    """An expression from its steps, or from one string."""
    if isinstance(steps, str):
        return parse_expression(steps)
    if depth > MAX_DEPTH:
        raise too_deep()
    if not isinstance(steps, Sequence) or not steps:
        raise QuestionError("parse", "An event is a list of steps, such as [{var: tas}, {mean: {over: nino34}}].")
    if len(steps) > MAX_STEPS + 1:
        raise too_many_steps()
    node = _start(*_pair(steps[0]), depth)
    for step in steps[1:]:
        node = _extended(node, *_pair(step), depth)
    return node


def _pair(step: object) -> tuple[str, Any]:
    """The one key and value of a step."""
    if not isinstance(step, Mapping) or len(step) != 1:
        raise QuestionError("parse", f"A step is a mapping with one key, such as {{var: tas}}; found {step!s:.60}.")
    ((key, value),) = step.items()
    return str(key), value


def _start(key: str, value: object, depth: int) -> Expression:
    """The first step of a list."""
    if key == "var":
        node = parse_expression(str(value))
        if isinstance(node, Variable):
            return node
        raise QuestionError("parse", f"{{var: {value!s:.60}}} is no variable's name.")
    if key == "not":
        return Negation(_expression(value, depth + 1))
    if key in ("and", "or"):
        if isinstance(value, str) or not isinstance(value, Sequence) or not 2 <= len(value) <= MAX_STEPS:
            raise QuestionError("parse", f"'{key}' takes a list of two or more events.")
        return combine("and" if key == "and" else "or", tuple(_expression(part, depth + 1) for part in value))
    raise QuestionError("parse", f"A list of steps begins with var, and, or, not; found '{key}'.")


def _extended(source: Expression, key: str, value: object, depth: int) -> Expression:
    """One step more on an expression."""
    if key in _OPERATORS:
        texts = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        if len(texts) != (2 if key in ("between", "outside") else 1):
            raise QuestionError("parse", f"'{key}' takes {'two thresholds' if key[0] in 'bo' else 'one threshold'}.")
        return Comparison(source, key, tuple(parse_threshold(str(text)) for text in texts))  # type: ignore[arg-type]
    if key not in _STEPS:
        raise _unknown("step", key, _STEPS)
    arguments = dict(value) if isinstance(value, Mapping) else {}
    node = _step(source, key, arguments, depth)
    if arguments:
        raise QuestionError("parse", f".{key} takes no {', '.join(map(str, arguments))}.", where=f".{key}")
    return node


def _step(source: Expression, key: str, arguments: dict[str, Any], depth: int) -> Expression:
    """One step with its arguments, which are used up."""
    if key == "anom":
        return Anomaly(source, _taken(arguments, "clim", parse_reference) if "clim" in arguments else None)
    if key == "roll":
        verb = next((verb for verb in ("mean", "max", "min", "sum") if verb in arguments), "mean")
        return Rolling(source, verb, _taken(arguments, verb, parse_duration))
    if key == "first":
        window = _taken(arguments, "time", parse_window)
        return First(source, window, _taken(arguments, "run", parse_run) if "run" in arguments else 1)
    if key == "then":
        if "event" not in arguments:
            raise QuestionError("parse", ".then needs event: [steps].", where=".then")
        event = _expression(arguments.pop("event"), depth + 1)
        return Then(source, event, _taken(arguments, "within", parse_duration))
    if "over" in arguments:
        over = arguments.pop("over")
        return Reduction(source, key, polygon_of(over) if isinstance(over, Mapping) else parse_region(str(over)))
    return Reduction(source, key, _taken(arguments, "time", parse_window))


def _taken(arguments: dict[str, Any], name: str, rule: Callable[[str], Parsed]) -> Parsed:
    """One argument, read by its rule."""
    if name not in arguments:
        raise QuestionError("parse", f"'{name}: …' is missing; found {', '.join(map(str, arguments)) or 'nothing'}.")
    return rule(str(arguments.pop(name)))


def _unknown(what: str, got: str, choices: Sequence[str] | Mapping[str, str]) -> QuestionError:
    close = nearest(got, choices)
    hint = f" Did you mean {close}?" if close else ""
    return QuestionError("parse", f"No {what} '{got:.40}'; there are {', '.join(choices)}.{hint}", did_you_mean=close)
