"""``tercile ask``: a question, a file of them or two side by side, printed as cards, JSON or CSV, or drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.answers.answer import Answer
from pipeline.answers.comparison import comparison_text, warnings_of
from pipeline.answers.formats import comparison_csv
from pipeline.answers.issued import Issued, Skill, open_issued, read_question
from pipeline.events import Question, QuestionError, batch_from_yaml
from pipeline.workspace import Workspace, write_whole

REFUSED = 4


def ask_all(
    workspace: Workspace,
    questions: Mapping[str, str | Question],
    *,
    form: str,
    plot: Path | None,
    strict: bool,
    **settings: Any,
) -> int:
    """Answer questions and print the answers; refusals go to stderr and do not stop the others.

    Args:
        workspace: Whose issued forecast is asked.
        questions: By name; the name is not shown where there is one alone.
        form: ``card``, ``json`` or ``csv``.
        plot: File that gets a picture; of several questions each gets the name in its file's.
        strict: Whether a warning counts as a refusal.
        settings: ``level``, ``partial`` and ``skill``.

    Returns:
        The exit code: that of the worst refusal, 0 where all were answered.
    """
    issued, codes, whole = open_issued(workspace), [0], dict[str, Any]()
    for name, question in questions.items():
        try:
            answer = _answered(issued, question, **settings)
        except QuestionError as error:
            codes.append(error.exit_code)
            whole[name] = {"problem": error.to_dict()}
            print(f"error: {f'{name}: ' if len(questions) > 1 else ''}{error}", file=sys.stderr)
            continue
        whole[name] = answer.to_json()
        _show(answer, name if len(questions) > 1 else "", form, plot)
        if strict and answer.to_json()["warnings"]:
            codes.append(REFUSED)
    if form == "json" and (len(questions) > 1 or max(codes) == 0 or strict):
        print(json.dumps(whole if len(questions) > 1 else next(iter(whole.values())), indent=2, default=str))
    return max(codes)


def ask_both(
    workspace: Workspace, first: str, second: str, *, form: str, plot: Path | None, strict: bool, **settings: Any
) -> int:
    """Answer two questions from one state of the stores and print them side by side.

    Args:
        workspace: Whose issued forecast is asked.
        first: A ``prob`` question.
        second: What it is compared with.
        form: ``card``, ``json`` or ``csv``.
        plot: File that gets a picture of both.
        strict: Whether a warning, of either answer or of the comparison, counts as a refusal.
        settings: ``level``, ``partial`` and ``skill``.

    Returns:
        The exit code: 0, or that of a refusal for a warning.

    Raises:
        QuestionError: One of them cannot be answered, or the two cannot be compared.
    """
    issued = open_issued(workspace)
    one, other = (_answered(issued, question, **settings) for question in (first, second))
    found = one.compare(other)
    if form == "json":
        print(json.dumps(found, indent=2, default=str))
    elif form == "csv":
        print(comparison_csv(one, other), end="")
    else:
        print(comparison_text(found))
    warnings = [warning for _, warning in warnings_of(found)]
    if form != "card":
        _note(warnings)
    if plot is not None:
        from pipeline.answers.plots import comparison_png

        write_whole(plot, comparison_png(one, other))
    return REFUSED if strict and warnings else 0


def list_names(workspace: Workspace, *, variables: bool, regions: bool) -> None:
    """Print the variables or the regions that a question may name, one a line."""
    catalogue = open_issued(workspace).catalogue
    if variables:
        print(*(info.described() for info in catalogue.variables.values()), sep="\n")
    if regions:
        print(*(f"{name:28} {area.title}" for name, area in catalogue.named_regions().items()), sep="\n")


def read_batch(path: Path) -> dict[str, Question]:
    """The questions of a YAML file, by name."""
    return batch_from_yaml(path.read_text(encoding="utf-8"))


def _answered(issued: Issued, question: str | Question, *, level: float, partial: bool, skill: Skill) -> Answer:
    return issued.ask(read_question(question), level=level, partial=partial, skill=skill)


def _show(answer: Answer, name: str, form: str, plot: Path | None) -> None:
    """Print one answer, and draw it where that is asked for."""
    if form == "csv":
        print(answer.to_csv(), end="")
    elif form == "card":
        print(f"{name}\n{answer.text}\n" if name else answer.text)
    if form != "card":
        _note(answer.to_json()["warnings"])
    if plot is not None:
        from pipeline.answers.plots import answer_png

        write_whole(plot.with_stem(f"{plot.stem}-{name}") if name else plot, answer_png(answer))


def _note(warnings: Iterable[Mapping[str, str]]) -> None:
    """Warnings beside a form that holds data alone."""
    for text in dict.fromkeys(warning["text"] for warning in warnings):
        print(f"note: {text}", file=sys.stderr)
