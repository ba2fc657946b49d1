"""Text to tokens. Nothing is evaluated: a question is only ever cut into words, numbers and signs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.events.errors import QuestionError
from pipeline.events.examples import nearest_example

MAX_TEXT = 250_000

_PATTERN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<date>\d{4}-\d{2}(?:-\d{2})?(?!\d))
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<word>p\d+(?:\.\d+)?(?!\w)|[^\W\d_]\w*(?:-\d+(?!\w))?|°\w*)
    | (?P<sign>\.\.|>=|<=|[-.,:=()<>|&~%/*^+])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, date or sign, and the column (from 1) where it begins."""

    kind: str
    text: str
    column: int


def scan(text: str) -> list[Token]:
    """Cut a question into tokens, with an ``end`` token last; the minus of answers reads as the hyphen of keyboards.

    Raises:
        QuestionError: ``parse``, at the first character that no token can begin with, or for a text too long.
    """
    if len(text) > MAX_TEXT:
        raise QuestionError("parse", f"The question has {len(text):,} characters; {MAX_TEXT:,} are allowed.")
    text = text.replace("−", "-")
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        found = _PATTERN.match(text, position)
        if found is None:
            raise parse_error(text, position + 1, f"{text[position]!r} cannot stand here.")
        if found.lastgroup != "space":
            tokens.append(Token(str(found.lastgroup), found.group(), position + 1))
        position = found.end()
    tokens.append(Token("end", "", len(text) + 1))
    return tokens


def parse_error(text: str, column: int, sentence: str) -> QuestionError:
    """A syntax error that shows the place, with a caret below the column, and a question like it that can be read."""
    begin = max(0, column - 41)
    piece = " ".join(text[begin : column + 39].splitlines())
    example = nearest_example(text)
    shown = f"{sentence}\n  {piece}\n  {' ' * (column - 1 - begin)}^\nFor example: {example}"
    return QuestionError("parse", shown, where=f"column {column}", try_=(example,))
