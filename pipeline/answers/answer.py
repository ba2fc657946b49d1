"""Answers: the number, its uncertainty, its base rate, its track record, and where it came from.

:func:`answer` takes a question from its text to an :class:`Answer`, whose ``to_json`` is the one document that the
command line, the service, the report and notebooks all show. A field that could not be computed is None, with a
sibling ``…_reason``; absence never means that something passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import urlencode

import xarray as xr

from pipeline.answers.card import card_html, card_text
from pipeline.answers.catalogue import Catalogue
from pipeline.answers.comparison import compare
from pipeline.answers.distributions import answer_distribution
from pipeline.answers.explain import restated
from pipeline.answers.fields import answer_field
from pipeline.answers.formats import as_csv, as_netcdf
from pipeline.answers.probability import Inquiry
from pipeline.answers.shares import answer_shares
from pipeline.answers.warnings import general_warnings
from pipeline.events import parse
from pipeline.events.tree import Question
from pipeline.workspace import write_whole

if TYPE_CHECKING:
    from pipeline.answers.plots import Plots

SCHEMA = "answer/1"
LEVEL = 0.9  # of intervals, where no other is asked for

Content = TypeVar("Content", str, bytes)


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Attributes:
        payload: The answer as plain data.
        members: What was counted or measured, one value for each member and sample; for maps and series their chances.
        inquiry: The question before its data, for what is drawn beside the answer.
        level: Coverage of the intervals.
    """

    payload: Mapping[str, Any]
    members: xr.Dataset
    inquiry: Inquiry = field(repr=False, compare=False)
    level: float

    def to_json(self) -> dict[str, Any]:
        """The answer as plain dictionaries, lists, strings and numbers, ready for JSON."""
        return dict(self.payload)

    @property
    def headline(self) -> str:
        """The sentence to say first."""
        return str(self.payload["headline"]["text"])

    @property
    def text(self) -> str:
        """The card for a terminal."""
        return card_text(self.payload)

    @property
    def plot(self) -> Plots:
        """Its figures: ``map``, ``plume``, ``exceedance``, ``reliability`` and ``compare``."""
        from pipeline.answers.plots import Plots  # loads matplotlib

        return Plots(self)

    @property
    def permalink(self) -> str:
        """Where the page of ``tercile serve`` shows this answer, whatever is issued later: what follows the host."""
        partly = {"partial": "true"} if self.inquiry.members.partial else {}
        other_level = {} if self.level == LEVEL else {"level": f"{100 * self.level:g}"}
        pins = {"as_of": self.payload["provenance"].get("as_of", ""), **partly, **other_level}
        return "/?" + urlencode({"q": self.payload["question"]["text"], **pins})

    def compare(self, other: Answer) -> dict[str, Any]:
        """This answer and another side by side, with difference and ratio, ready for JSON."""
        return compare(self, other)

    @overload
    def to_csv(self) -> str: ...

    @overload
    def to_csv(self, path: str | Path) -> None: ...

    def to_csv(self, path: str | Path | None = None) -> str | None:
        """Members or field as CSV, below a header that says what they are: the text, or the file ``path``."""
        return _given(as_csv(self), path)

    @overload
    def to_netcdf(self) -> bytes: ...

    @overload
    def to_netcdf(self, path: str | Path) -> None: ...

    def to_netcdf(self, path: str | Path | None = None) -> bytes | None:
        """Members or field as CF NetCDF: the bytes, or the file ``path``."""
        return _given(as_netcdf(self), path)

    def __repr__(self) -> str:
        """The card, also at a prompt, where all that is behind it would fill the screen."""
        return self.text

    def _repr_html_(self) -> str:
        return card_html(self.payload)


def answer(
    question: str | Question,
    *,
    ensemble: xr.Dataset,
    reference: xr.Dataset,
    catalogue: Catalogue,
    level: float = LEVEL,
    skill: Mapping[str, Any] | Callable[[Inquiry], Mapping[str, Any] | None] | None = None,
    raw: xr.Dataset | None = None,
    refits: Sequence[xr.Dataset] = (),
    hindcasts: Sequence[xr.Dataset] = (),
    partial: bool = False,
) -> Answer:
    """Answer a question from an ensemble.

    Missing data are three-valued: a member whose data leave the event open counts neither for nor against it.

    Args:
        question: Text in the question language, or its tree.
        ensemble: Members, dims ``([scenario], [init_time], lead_time, member, latitude, longitude)``, lazy; calibrated
            ones where the catalogue says so.
        reference: The reference record, dims ``(time, latitude, longitude)`` with ``time_bnds``, same grid and
            cadence; the source of anomalies, relative thresholds and base rates.
        catalogue: Names, provenance and calibration state.
        level: Coverage of the intervals, 0.5 to 0.999.
        skill: The track record of this question, at least ``{"verdict": …}``; or a function that finds it, if it can,
            for the question before its data.
        raw: The members before calibration, where ``ensemble`` is calibrated.
        refits: The members under calibrations that were each learnt without one part of the hindcasts, so that the
            interval covers the fit of the calibration too.
        hindcasts: Those of the same model, for ``clim=model``: calibrated as ``ensemble`` is, then as ``raw``, then as
            each of ``refits``, since each kind of member is compared with its own.
        partial: Whether to use what is on the grid of a region that is not wholly on it; the answer then says so.

    Returns:
        The answer, whose payload has the fields of schema ``answer/1``.

    Raises:
        QuestionError: The question cannot be answered as it was put; it says why and what would do.
        ValueError: A ``level`` out of range, or a reference that does not fit the ensemble.
    """
    if not 0.5 <= level <= 0.999:
        raise ValueError(f"level: {level}; a coverage from 0.5 to 0.999 is expected, such as 0.9")
    began = perf_counter()
    asked = parse(question) if isinstance(question, str) else question
    setting: dict[str, Any] = {"reference": reference, "catalogue": catalogue, "partial": partial}
    past = iter(hindcasts)
    inquiry = Inquiry.of(asked, ensemble=ensemble, hindcasts=next(past, None), **setting)
    resolved = restated(inquiry)
    track = (skill(inquiry) if callable(skill) else skill) or _no_track_record(asked, catalogue)
    earlier = None if raw is None else inquiry.beside(raw, next(past, None))
    others = [inquiry.beside(refit, next(past, None)) for refit in refits]
    if asked.ask == "prob":
        found, members = answer_shares(inquiry, level=level, skill=track, raw=earlier, refits=others)
    elif asked.ask in ("map", "series"):
        found, members = answer_field(inquiry, level=level, refits=others)
    else:
        found, members = answer_distribution(inquiry, level=level)
    if "member" in members.dims:
        members = members.assign_coords(member=inquiry.member)
    found["warnings"] = [*general_warnings(inquiry), *found["warnings"]]
    payload = {
        "schema": SCHEMA,
        "headline": found.pop("headline"),
        "question": resolved,
        **found,
        "skill": dict(track),
        "calibration": dict(catalogue.calibration),
        "provenance": _provenance(inquiry, catalogue),
        "timing_ms": {"total": round(1e3 * (perf_counter() - began), 1)},
    }
    members = members.assign_attrs(ask_text=resolved["text"], reads_as=resolved["reads_as"])
    return Answer(payload, members, inquiry, level)


def _no_track_record(question: Question, catalogue: Catalogue) -> dict[str, Any]:
    """What can be said of skill when nobody measured it."""
    if catalogue.kind == "projection":
        return {"verdict": "not_applicable", "reason": "A scenario run has no past forecasts to be judged by."}
    if question.ask != "prob":
        return {"verdict": "not_measured", "reason": "Skill is measured for one event at a time: ask 'prob'."}
    return {"verdict": "not_measured", "reason": "No past forecasts are stored to replay this question on."}


def _given(content: Content, path: str | Path | None) -> Content | None:
    """The content, or None where it went into a file."""
    if path is None:
        return content
    write_whole(Path(path), content)
    return None


def _provenance(inquiry: Inquiry, catalogue: Catalogue) -> dict[str, Any]:
    """Where the numbers came from."""
    return {
        "forecast": f"fc-{inquiry.init_time}",
        "init_time": inquiry.init_time,
        **inquiry.lineage,
        "scenario": " vs ".join(inquiry.scenarios) or "none",
        "reference": catalogue.reference,
        **({} if inquiry.model is None else {"model_reference": inquiry.model.label}),
        **catalogue.provenance,
    }
