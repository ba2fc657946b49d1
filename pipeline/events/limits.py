"""How large a question may be: enough for any sentence a person would write, too little to hurt a server."""

from __future__ import annotations

from pipeline.events.errors import QuestionError
from pipeline.events.tree import Combination, Comparison, Expression, Negation, Question, Then, Variable, children

MAX_STEPS = 64
MAX_DEPTH = 8


def check_limits(question: Question) -> None:
    """Refuse a question of more than 64 steps, or with conditions nested more than eight deep.

    Raises:
        QuestionError: ``parse``.
    """
    if sum(count_steps(part) for part in question.parts) > MAX_STEPS:
        raise too_many_steps()
    if max(nesting(part) for part in question.parts) > MAX_DEPTH:
        raise too_deep()


def count_steps(node: Expression) -> int:
    """How many steps, comparisons and negations an expression has."""
    own = 0 if isinstance(node, Variable | Combination) else 1
    return own + sum(count_steps(child) for child in children(node))


def nesting(node: Expression) -> int:
    """How many conditions stand within one another."""
    own = 1 if isinstance(node, Comparison | Combination | Negation | Then) else 0
    return own + max((nesting(child) for child in children(node)), default=0)


def too_many_steps() -> QuestionError:
    """The refusal of a question that is too long."""
    return QuestionError("parse", f"A question has at most {MAX_STEPS} steps; split this one.")


def too_deep() -> QuestionError:
    """The refusal of a question that is nested too deeply."""
    return QuestionError("parse", f"A question has at most {MAX_DEPTH} levels within one another; simplify this one.")
