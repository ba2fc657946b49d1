"""The model's own climatology, by lead: the same expression, evaluated on the model's hindcasts.

A model that is always a degree too warm at its third month has warm anomalies about any record. Where a question says
``clim=model``, members are compared with what the same model, calibrated alike, said of the same season at the same
lead; what happened stays compared with the reference record. A start is compared with those of other years alone, so
that neither a forecast nor a hindcast takes part in what it is measured by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.bounds import MEMBER
from pipeline.answers.climate import Climate, Sample, Statistic
from pipeline.answers.extent import span_of_all
from pipeline.answers.freshness import finished
from pipeline.answers.hindcasts import LEAST_YEARS, in_batches, laid_out, members_of_starts, nearby_starts
from pipeline.answers.trajectories import Need, Trajectories
from pipeline.answers.windows import Timeline, resolve
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Expression, Question, Reference, model_references

Array = NDArray[Any]
Ints = NDArray[np.int64]

FEWEST_YEARS = 5  # the mean of five years is off by nearly half a standard deviation of one


@dataclass
class ModelClimate:
    """The hindcasts as seen from one forecast, and the reference record for all that is not asked of the model.

    Attributes:
        record: What is usual in the reference record.
        hindcasts: The starts to use, dims ``(init_time, lead_time, member, latitude, longitude)``, lazy.
        later: How many steps later in the year than the forecast each began.
        forecast: The members of the forecast, whose steps the hindcasts are laid on.
        judged: The start year of each forecast whose members are evaluated; nothing of that year is compared with them.
    """

    record: Climate
    hindcasts: xr.Dataset
    later: Ints
    forecast: Trajectories
    judged: Ints
    _held: dict[object, Array] = field(default_factory=dict)

    @cached_property
    def years(self) -> Ints:
        """The year that each hindcast began in."""
        return np.asarray(self.hindcasts["init_time"].dt.year.values)

    @property
    def label(self) -> str:
        """The reference as answers name it: ``model:1981-2010, 30 hindcast starts``."""
        return f"model:{self.years.min()}-{self.years.max()}, {self.years.size} hindcast starts"

    @property
    def thin(self) -> str | None:
        """A sentence where the start years are few; None where they are not."""
        count = np.unique(self.years).size
        if count >= LEAST_YEARS:
            return None
        return f"The model's own climatology rests on {count} start years, fewer than {LEAST_YEARS}."

    @property
    def samples(self) -> int:
        """How many numbers one step of one cell has."""
        return self.years.size * self.hindcasts.sizes["member"]

    def judging(self, years: Ints) -> ModelClimate:
        """The same for hindcasts that began in these years, one entry for each start."""
        return replace(self, judged=years)

    def forget(self) -> None:
        """Let go of what was read and worked out."""
        self._held.clear()

    def statistic(
        self,
        node: Expression,
        need: Need,
        timeline: Timeline,
        statistic: Statistic,
        *,
        reference: Reference | None = None,
    ) -> Array:
        """As :meth:`pipeline.answers.climate.Climate.statistic`, with a row for each member where starts are judged.

        Means, percentiles and sigmas behind ``clim=model`` are those of the hindcasts. ``record`` stays that of the
        reference record: so many members would make higher ones than as many years.
        """
        is_model = reference.source == "model" if reference is not None else bool(model_references(node))
        if not is_model or statistic.kind in ("highest", "lowest"):
            return self.record.statistic(node, need, timeline, statistic, reference=reference)
        values = self._values(node, need, is_averaged=statistic.kind == "mean")
        Sample(values, float(np.unique(self.years).size), 1.0).check(statistic)
        apart, of_start = np.unique(self.judged, return_inverse=True)
        found = np.concatenate([statistic.of(_pooled(values[self.years != year])) for year in apart], axis=MEMBER)
        count = self.hindcasts.sizes["member"]
        return found if apart.size == 1 else np.repeat(found[:, of_start], count, axis=MEMBER)

    def _values(self, node: Expression, need: Need, *, is_averaged: bool) -> Array:
        """What the hindcasts say, ``(start, member, step, latitude, longitude)``, or each start's mean member."""
        key = (node, need.key, is_averaged)
        if key not in self._held:
            size = {"members": self.hindcasts.sizes["member"], "steps": need.stop - need.start}
            batches = in_batches(self.later.size, self.forecast, need, **size)
            parts = (self._said(node, need, batch) for batch in batches)
            whole = [part.mean(axis=MEMBER, keepdims=True) if is_averaged else part for part in parts]
            self._held[key] = np.concatenate(whole)
        return self._held[key]

    def _said(self, node: Expression, need: Need, batch: slice) -> Array:
        """An expression in the members of some hindcasts, each compared with those of other years."""
        some = self.hindcasts.isel(init_time=batch)
        at = laid_out(self.forecast, self.later[batch], lambda name, need: members_of_starts(some[name], need))
        values = self.record.evaluate(node, need, at, self.judging(self.years[batch])).known()
        return values.reshape(some.sizes["init_time"], -1, *values.shape[2:])


def model_climate(
    question: Question, hindcasts: xr.Dataset | None, *, forecast: Trajectories, year: int, record: Climate
) -> ModelClimate | None:
    """The model's own climatology where a question refers to it, else None; only times are read.

    Args:
        question: What is asked.
        hindcasts: Those of the model that made the members, calibrated as they are; None where none is stored.
        forecast: The members.
        year: In which the forecast began.
        record: What is usual in the reference record.

    Raises:
        QuestionError: ``reference_period``: there are no hindcasts to take it from, or too few.
    """
    references = model_references(*question.parts)
    if not references:
        return None
    if forecast.catalogue.kind == "projection":
        raise _refused("A scenario run has no hindcasts, so no climatology by lead.", forecast)
    if hindcasts is None:
        raise _refused("No hindcasts are stored, so the model's own climatology is not known.", forecast)
    (reference,) = references
    rows, later = nearby_starts(hindcasts, forecast.timeline)
    began = hindcasts["init_time"].dt.year.values[rows]
    start, stop = _looked_at(question.parts, forecast.timeline)
    is_used = (start >= later) & (stop <= hindcasts.sizes["lead_time"] + later)
    is_used &= (began != year) & np.isin(rows, finished(hindcasts))
    if reference.years is not None:
        is_used &= (began >= reference.years[0]) & (began <= reference.years[1])
    found = np.unique(began[is_used]).size
    if found < FEWEST_YEARS:
        needed = f"{FEWEST_YEARS} start years of hindcasts that reach {forecast.timeline.name(stop - 1)}"
        raise _refused(f"The model's own climatology needs {needed}; {found} are stored.", forecast)
    own = hindcasts.isel(init_time=rows[is_used])
    return ModelClimate(record, own, later[is_used], forecast, np.array([year]))


def _looked_at(nodes: Iterable[Expression], timeline: Timeline) -> tuple[int, int]:
    """The steps that a question looks at, in all the years of an ``each`` window."""
    start, stop = span_of_all(nodes, timeline)
    for each in filter(None, (kind_of(node).each for node in nodes)):
        groups = resolve(each, timeline).groups
        stop += groups[-1][1] - groups[0][1]
    return start, min(stop, timeline.size)


def _refused(why: str, forecast: Trajectories) -> QuestionError:
    text = f"{why} The reference record is {forecast.catalogue.reference}: write .anom."
    return QuestionError("reference_period", text, where="clim=model", try_=(".anom",))


def _pooled(values: Array) -> Array:
    """All members of all starts as one ensemble, ``(1, start x member, step, latitude, longitude)``."""
    return values.reshape(1, -1, *values.shape[2:])
