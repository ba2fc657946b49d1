"""``tercile ask``: a question, a file of them or two side by side, printed as cards, JSON or CSV, or drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from pipeline.answers.answer import Answer
from pipeline.answers.card import WIDTH, card_text
from pipeline.answers.comparison import comparison_text, warnings_of
from pipeline.answers.formats import comparison_csv
from pipeline.answers.issued import Issued, Skill, open_issued, read_question
from pipeline.events import Pair, Question, QuestionError, batch_from_yaml
from pipeline.workspace import Workspace, write_whole

if TYPE_CHECKING:
    from pipeline.reporting.figures import Picture

REFUSED = 4

Asked = str | Question | tuple[str, str] | Pair | QuestionError


@dataclass(frozen=True)
class _Sheet:
    """What is printed of one answer, or of two side by side.

    Attributes:
        payload: As JSON.
        card: As a card.
        csv: As CSV.
        picture: As a picture.
        warnings: Of all that is on it.
    """

    payload: dict[str, Any]
    card: str
    csv: Callable[[], str]
    picture: Callable[[Picture], bytes]
    warnings: Sequence[Mapping[str, str]]


def ask_all(
    workspace: Workspace,
    questions: Mapping[str, Asked],
    *,
    form: str,
    plot: Path | None,
    strict: bool,
    **settings: Any,
) -> int:
    """Answer questions, from one state of the stores, and print the answers.

    Refusals go to stderr and do not stop the others.

    Args:
        workspace: Whose issued forecast is asked.
        questions: By name, two of them to be put side by side, or why one cannot be read; the name is not shown where
            there is one alone.
        form: ``card``, ``json`` or ``csv``.
        plot: File that gets a picture, PNG or SVG as its name says; of several questions each gets the name in its own.
        strict: Whether a warning, of an answer or of a comparison, counts as a refusal.
        settings: ``level``, ``partial`` and ``skill``.

    Returns:
        The exit code: that of the worst refusal, 0 where all were answered.
    """
    issued, codes, whole = open_issued(workspace), [0], dict[str, Any]()
    for name, question in questions.items():
        try:
            sheet = _answered(issued, question, **settings)
        except QuestionError as error:
            codes.append(error.exit_code)
            whole[name] = {"problem": error.to_dict()}
            print(f"error: {f'{name}: ' if name else ''}{error}", file=sys.stderr)
            continue
        whole[name] = sheet.payload
        _show(sheet, name if len(questions) > 1 else "", form, plot)
        if strict and sheet.warnings:
            codes.append(REFUSED)
    if form == "json" and (len(questions) > 1 or max(codes) == 0 or strict):
        print(json.dumps(whole if len(questions) > 1 else next(iter(whole.values())), indent=2, default=str))
    return max(codes)


def list_names(workspace: Workspace, *, variables: bool, regions: bool) -> None:
    """Print the variables or the regions that a question may name, one a line."""
    catalogue = open_issued(workspace).catalogue
    if variables:
        print(*(info.described() for info in catalogue.variables.values()), sep="\n")
    if regions:
        print(*(f"{name:28} {area.title}" for name, area in catalogue.named_regions().items()), sep="\n")


def read_batch(path: Path) -> dict[str, Question | Pair | QuestionError]:
    """The questions of a YAML file, by name; two that are to be compared as a pair, or why one cannot be read.

    Raises:
        QuestionError: The file is no text, no YAML, or holds no questions.
    """
    try:
        return batch_from_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise QuestionError("parse", f"{path} is no file of questions: not text in UTF-8.") from error


def _answered(issued: Issued, asked: Asked, *, level: float, partial: bool, skill: Skill) -> _Sheet:
    """What is printed of a question, or of two.

    Raises:
        QuestionError: One cannot be answered, or the two cannot be compared.
    """
    if isinstance(asked, QuestionError):
        raise asked
    if isinstance(asked, str | Question):
        return _sheet(issued.ask(read_question(asked), level=level, partial=partial, skill=skill))
    one, other = (issued.ask(read_question(each), level=level, partial=partial, skill=skill) for each in asked)
    return _comparison(one, other)


def _sheet(answer: Answer) -> _Sheet:
    def picture(form: Picture) -> bytes:
        from pipeline.answers.plots import answer_picture  # loads matplotlib

        return answer_picture(answer, form)

    payload = answer.to_json()
    return _Sheet(payload, card_text(payload, width=_columns()), answer.to_csv, picture, payload["warnings"])


def _comparison(one: Answer, other: Answer) -> _Sheet:
    def picture(form: Picture) -> bytes:
        from pipeline.answers.plots import comparison_picture  # loads matplotlib

        return comparison_picture(one, other, form)

    found = one.compare(other)
    warnings = [warning for _, warning in warnings_of(found)]
    card = comparison_text(found, width=_columns())
    return _Sheet(found, card, lambda: comparison_csv(one, other), picture, warnings)


def _columns() -> int:
    """Columns of a card: those of the terminal, as far as lines read well and the number line fits."""
    return min(max(64, get_terminal_size().columns), 100) if sys.stdout.isatty() else WIDTH


def _show(sheet: _Sheet, name: str, form: str, plot: Path | None) -> None:
    """Print one answer, and draw it where that is asked for."""
    if form == "csv":
        print(sheet.csv(), end="")
    elif form == "card":
        print(f"{name}\n{sheet.card}\n" if name else sheet.card)
    if form != "card":
        _note(sheet.warnings)
    if plot is not None:
        kind: Picture = "svg" if plot.suffix.lower() == ".svg" else "png"
        write_whole(plot.with_stem(f"{plot.stem}-{name}") if name else plot, sheet.picture(kind))


def _note(warnings: Iterable[Mapping[str, str]]) -> None:
    """Warnings beside a form that holds data alone."""
    for text in dict.fromkeys(warning["text"] for warning in warnings):
        print(f"note: {text}", file=sys.stderr)
