"""Which form of an answer a client wants, and the answer in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from fastapi.responses import Response

from pipeline.answers.answer import Answer
from pipeline.answers.formats import as_coverage, as_csv, as_netcdf, comparison_csv
from pipeline.errors import TercileError
from pipeline.events import QuestionError
from pipeline.service.problems import ServiceError

if TYPE_CHECKING:
    from pipeline.reporting.figures import Picture

Format = Literal["json", "covjson", "netcdf", "csv", "png", "svg"]

MEDIA: dict[Format, str] = {
    "json": "application/json",
    "covjson": "application/prs.coverage+json",
    "netcdf": "application/x-netcdf",
    "csv": "text/csv",
    "png": "image/png",
    "svg": "image/svg+xml",
}
SIDE_BY_SIDE: tuple[Format, ...] = ("json", "csv", "png", "svg")


def wanted(accept: str, asked: Format | None, *, among: Collection[Format] = tuple(MEDIA)) -> Format:
    """The form that is asked for by name, or that the ``Accept`` header likes best.

    Raises:
        ServiceError: None of those there are is acceptable.
    """
    if asked is not None:
        return asked
    liked = sorted(_accepted(accept), key=lambda pair: -pair[1])
    for media, _ in liked:
        for form in among:
            if media in ("*/*", MEDIA[form], f"{MEDIA[form].split('/')[0]}/*"):
                return form
    raise ServiceError(406, "not_acceptable", f"This comes as {', '.join(MEDIA[form] for form in among)}.")


def written(answer: Answer, form: Format, *, cells: int) -> Response:
    """An answer in the form that is wanted.

    Raises:
        ServiceError: The form does not fit the question, or the response would be too large.
    """
    is_field = answer.to_json()["question"]["ask"] in ("map", "series")
    size = sum(int(array.size) for array in answer.members.data_vars.values())
    if form != "json" and size > cells:
        raise ServiceError(413, "too_big", f"{size} values are more than the {cells} of one response. Ask for less.")
    if form == "covjson" and not is_field:
        raise ServiceError(406, "not_acceptable", "CoverageJSON is for 'map of' and 'series of' questions.")
    return Response(_WRITERS[form](answer), media_type=MEDIA[form])


def written_side_by_side(first: Answer, second: Answer, form: Format) -> Response:
    """Two answers side by side in the form that is wanted, one of ``SIDE_BY_SIDE``."""
    return Response(_PAIR_WRITERS[form](first, second), media_type=MEDIA[form])


def dumped(content: object) -> str:
    """JSON in which a number that is none is null."""
    return json.dumps(_finite(content), allow_nan=False, default=str)


def _finite(content: object) -> object:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    return content.item() if isinstance(content, np.generic) else content


def _accepted(accept: str) -> list[tuple[str, float]]:
    """Media types with their weight, in the order given."""
    found = []
    for part in (accept or "*/*").split(","):
        media, *settings = (piece.strip() for piece in part.split(";"))
        weights = [setting[2:] for setting in settings if setting.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        if weight > 0:
            found.append((media.lower(), weight))
    return found


def _picture(form: Picture, answer: Answer) -> bytes:
    from pipeline.answers.plots import answer_picture  # loads matplotlib

    with _picture_or_refusal():
        return answer_picture(answer, form)


def _pair_picture(form: Picture, first: Answer, second: Answer) -> bytes:
    from pipeline.answers.plots import comparison_picture  # loads matplotlib

    with _picture_or_refusal():
        return comparison_picture(first, second, form)


@contextmanager
def _picture_or_refusal() -> Iterator[None]:
    """What cannot be drawn is refused in the words of the plot that cannot draw it."""
    try:
        yield
    except QuestionError:
        raise
    except TercileError as error:
        raise ServiceError(406, "not_acceptable", str(error)) from error


_WRITERS: dict[Format, Callable[[Answer], str | bytes]] = {
    "json": lambda answer: dumped(answer.to_json()),
    "covjson": lambda answer: dumped(as_coverage(answer)),
    "netcdf": as_netcdf,
    "csv": as_csv,
    "png": partial(_picture, "png"),
    "svg": partial(_picture, "svg"),
}
_PAIR_WRITERS: dict[Format, Callable[[Answer, Answer], str | bytes]] = {
    "json": lambda first, second: dumped(first.compare(second)),
    "csv": comparison_csv,
    "png": partial(_pair_picture, "png"),
    "svg": partial(_pair_picture, "svg"),
}
