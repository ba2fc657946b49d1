"""The track record of a map's question, cell by cell: each cell is judged as its own question would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.answers.fields import bands
from pipeline.answers.probability import Inquiry
from pipeline.answers.replay import cases_of, score, too_few
from pipeline.answers.trajectories import Need

VERDICTS = ("not_measured", "skilful", "no_evidence", "worse_than_climatology")

Progress = Callable[[float], None]


def skill_field(
    inquiry: Inquiry,
    *,
    hindcasts: xr.Dataset,
    truth: xr.Dataset,
    folds: Sequence[str],
    level: float,
    progress: Progress = lambda share: None,
) -> dict[str, list[list[float]]]:
    """Judge a ``map`` question by the hindcasts.

    Args:
        inquiry: The question before the forecast that is asked.
        hindcasts: As for :func:`pipeline.answers.replay.replay`.
        truth: What happened.
        folds: By number, the years that a fold's fit left out.
        level: Coverage of the intervals.
        progress: Is told the share of the work that is done.

    Returns:
        ``skill``, ``skill_low``, ``skill_high`` and ``skill_verdict`` (a place in ``VERDICTS``), each as rows of the
        grid; NaN where it was not measured.

    Raises:
        TercileError: The hindcasts or the record cannot say.
    """
    parts, every = [], bands(inquiry)
    for done, band in enumerate(every, start=1):
        need = Need(band, 0, inquiry.timeline.size)
        cases = cases_of(inquiry, need, hindcasts=hindcasts, truth=truth, folds=folds)
        years = hindcasts["init_time"].dt.year.values[cases.rows]
        shape = cases.share.shape[-2:]
        judged = [_judged(cases.at(row, column), years, level) for row, column in np.ndindex(*shape)]
        parts.append(np.array(judged).reshape(*shape, 4))
        inquiry.forget()
        progress(done / len(every))
    whole = np.concatenate(parts)
    names = ("skill", "skill_low", "skill_high", "skill_verdict")
    return {name: whole[..., place].tolist() for place, name in enumerate(names)}


def with_skill(field: xr.Dataset, skill: dict[str, list[list[float]]]) -> xr.Dataset:
    """The chances of a map with the skill of each cell beside them."""
    dims = ("latitude", "longitude")
    added = {name: (dims, np.array(rows, dtype="float32")) for name, rows in skill.items()}
    flags = {"flag_values": np.arange(len(VERDICTS), dtype="int8"), "flag_meanings": " ".join(VERDICTS)}
    verdict = np.array(skill["skill_verdict"], dtype="int8")
    return field.assign({**added, "skill_verdict": (dims, verdict, flags)})


def _judged(cases: Any, years: Any, level: float) -> tuple[float, float, float, int]:
    if too_few(cases, years):
        return np.nan, np.nan, np.nan, 0
    found = score(cases, years, level=level)
    return found["value"], found["low"], found["high"], VERDICTS.index(found["verdict"])
