"""Which form of an answer a client wants, and the answer in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

import numpy as np
from fastapi.responses import Response

from pipeline.answers.answer import Answer
from pipeline.answers.formats import as_coverage, as_csv, as_netcdf
from pipeline.service.problems import ServiceError

Format = Literal["json", "covjson", "netcdf", "csv", "png"]

MEDIA: dict[Format, str] = {
    "json": "application/json",
    "covjson": "application/prs.coverage+json",
    "netcdf": "application/x-netcdf",
    "csv": "text/csv",
    "png": "image/png",
}


def wanted(accept: str, asked: Format | None) -> Format:
    """The form that is asked for by name, or that the ``Accept`` header likes best.

    Raises:
        ServiceError: None of ours is acceptable.
    """
    if asked is not None:
        return asked
    liked = sorted(_accepted(accept), key=lambda pair: -pair[1])
    for media, _ in liked:
        for form, own in MEDIA.items():
            if media in ("*/*", own, f"{own.split('/')[0]}/*"):
                return form
    raise ServiceError(406, "not_acceptable", f"Answers come as {', '.join(MEDIA.values())}.")


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


def _png(answer: Answer) -> bytes:
    from pipeline.answers.plots import answer_png  # loads matplotlib

    return answer_png(answer)


_WRITERS: dict[Format, Callable[[Answer], str | bytes]] = {
    "json": lambda answer: dumped(answer.to_json()),
    "covjson": lambda answer: dumped(as_coverage(answer)),
    "netcdf": as_netcdf,
    "csv": as_csv,
    "png": _png,
}
