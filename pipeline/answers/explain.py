"""A question in plain words, with everything resolved: cells, dates, thresholds. No member is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from pipeline.answers.bounds import MEMBER
from pipeline.answers.catalogue import Catalogue
from pipeline.answers.climate import Sample
from pipeline.answers.distributions import chance_asked, check_resolved
from pipeline.answers.evaluate import closed_over, threshold_values
from pipeline.answers.extent import reach_of, rolled_steps
from pipeline.answers.probability import Inquiry
from pipeline.answers.quantities import Measure
from pipeline.answers.trajectories import Need
from pipeline.answers.windows import resolve
from pipeline.events import parse, question_id, question_text, to_steps
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import (
    Absolute,
    All,
    Anomaly,
    Combination,
    Comparison,
    Day,
    Each,
    Expression,
    First,
    Named,
    Negation,
    Percentile,
    Point,
    Question,
    Record,
    Reduction,
    Region,
    Rolling,
    Sigma,
    Then,
    Threshold,
    Variable,
    Window,
    model_references,
)
from pipeline.events.write import duration_text, reference_text, region_text, threshold_text, window_text
from pipeline.grid import distance_km

_OPERATORS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
_WHEN = {"above": "after", "at_least": "in or after", "below": "before", "at_most": "by the end of"}
_EXTREMES = {"max": "highest", "min": "lowest"}
_ASKS = {
    "prob": "In what share of futures",
    "map": "At each place, in what share of futures",
    "series": "At each step, in what share of futures",
}


def explain(
    question: str | Question,
    *,
    ensemble: xr.Dataset,
    reference: xr.Dataset,
    catalogue: Catalogue,
    hindcasts: xr.Dataset | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """Restate a question, costing nothing: its words, its windows, regions and thresholds.

    Args:
        question: Text or tree.
        ensemble: Only its coordinates are read.
        reference: Read for relative thresholds.
        catalogue: Names and states.
        hindcasts: For ``clim=model``; only their times are read, so what is relative to them has no value here.
        partial: Whether a part of a region on the grid will do.

    Returns:
        The ``question`` part of an answer.

    Raises:
        QuestionError: Whatever would refuse the question itself, short of reading members.
    """
    asked = parse(question) if isinstance(question, str) else question
    setting: dict[str, Any] = {"reference": reference, "catalogue": catalogue, "hindcasts": hindcasts}
    return restated(Inquiry.of(asked, ensemble=ensemble, partial=partial, **setting))


def restated(inquiry: Inquiry) -> dict[str, Any]:
    """The ``question`` part of an answer."""
    question = inquiry.question
    reading = _Reading(inquiry)
    plain = to_steps(question)
    subject: dict[str, Any] = {key: plain[key] for key in ("event", "field", "given", "forecast") if key in plain}
    sentence = reading.sentence()
    return {
        "id": question_id(question),
        "ask": question.ask,
        **subject,
        "text": question_text(question),
        "reads_as": sentence,
        "resolved": reading.resolved(),
    }


@dataclass
class _Reading:
    """One walk over the tree that makes the sentence and notes what it meets."""

    inquiry: Inquiry
    regions: list[dict[str, Any]] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    thresholds: list[dict[str, Any]] = field(default_factory=list)

    def sentence(self) -> str:
        question = self.inquiry.question
        whole = Need(None, 0, self.inquiry.timeline.size)
        words = self.words(question.subject, whole)
        given = "" if question.given is None else f", among those in which {self.words(question.given, whole)}"
        under = f" under {' and under '.join(self.inquiry.scenarios)}" if self.inquiry.scenarios else ""
        if question.ask in _ASKS:
            return f"{_ASKS[question.ask]}{under} is it true that {words}{given}?"
        if question.ask == "value":
            self.check_chance()
            return f"Which value of {words}{under} is exceeded with a chance of {question.exceeded:g} %{given}?"
        if question.ask == "level":
            return f"Which value of {words}{under} is exceeded once in {question.return_years} years{given}?"
        return f"How is {words} distributed over futures{under}{given}?"

    def check_chance(self) -> None:
        """Refuse a chance that not even all members, each with all its samples, would resolve."""
        inquiry = self.inquiry
        each = kind_of(inquiry.question.subject).each
        pooled = 1 if each is None else len(resolve(each, inquiry.timeline).groups)
        check_resolved(chance_asked(inquiry), inquiry.count_members * pooled)

    def resolved(self) -> dict[str, Any]:
        """Windows, regions and thresholds, each also alone where there is only one to speak of."""
        days = [day for window in self.windows for day in window["dates"]]
        leads = [lead for window in self.windows for lead in window["leads"]]
        return {
            "init_time": self.inquiry.init_time,
            "scenarios": list(self.inquiry.scenarios),
            "window": [min(days), max(days)] if days else None,
            "leads": [min(leads), max(leads)] if leads else None,
            "window_means": "; ".join(dict.fromkeys(window["means"] for window in self.windows)) or None,
            "region": self.regions[0] if self.regions else None,
            "threshold": self.thresholds[0] if self.thresholds else None,
            "windows": self.windows,
            "regions": self.regions,
            "thresholds": self.thresholds,
        }

    def words(self, node: Expression, need: Need) -> str:
        """A number as a noun phrase, a condition as a clause."""
        match node:
            case Variable():
                info = self.inquiry.members.catalogue.variable(node.name)
                return info.long_name or info.standard_name.replace("_", " ") or info.name
            case Anomaly():
                return f"the anomaly of {self.words(node.source, need)} (against {self.mean(node)})"
            case Rolling():
                length = rolled_steps(node, self.inquiry.timeline)
                inner = Need(need.cells, max(0, need.start - length + 1), need.stop)
                return f"the running {duration_text(node.length)} {node.verb} of {self.words(node.source, inner)}"
            case Reduction():
                axis = node.axis
                if isinstance(axis, Region):
                    return self.over_region(node, axis, need)
                return self.over_window(node, axis, need)
            case First():
                (start, stop), dates = self.window(node.window, "first")
                held = f", for {node.run} in a row" if node.run > 1 else ""
                condition = self.words(node.source, Need(need.cells, start, stop))
                return f"the first {self.step} of {dates} in which {condition}{held}"
            case Then():
                after = self.words(node.event, need)
                return f"{self.words(node.source, need)}, and within {duration_text(node.within)} after it {after}"
            case Comparison():
                return self.comparison(node, need)
            case Combination():
                joint = f", {node.word} "
                return joint.join(self.words(part, need) for part in node.parts)
            case Negation():
                return f"it is not so that {self.words(node.source, need)}"

    def over_region(self, node: Reduction, region: Region, need: Need) -> str:
        """Space closed, with the cells it is closed over."""
        cells = closed_over(node, region, self.inquiry.members)
        self.note_region(region)
        source = self.words(node.source, Need(cells, need.start, need.stop))
        if isinstance(region, Point):
            return f"{source} in {cells.title}" if node.verb != "all" else f"in {cells.title} {source}"
        where = f"{cells.title} ({cells.count} cell{'s' if cells.count > 1 else ''}, {_million(cells.area)} km²)"
        phrases = {
            "mean": f"the area mean of {source} over {where}",
            "sum": f"the area integral of {source} over {where}",
            "frac": f"the share of the area of {where} in which {source}",
            "any": f"in at least one cell of {where} {source}",
            "all": f"in every cell of {where} {source}",
        }
        return phrases.get(node.verb) or f"the {_EXTREMES[node.verb]} cell of {source} over {where}"

    def over_window(self, node: Reduction, window: Window, need: Need) -> str:
        """Time closed, and how."""
        inner, dates = self.window(window, node.verb)
        source = self.words(node.source, Need(need.cells, *inner))
        back = reach_of(node.source, self.inquiry.timeline)[0]
        if node.verb in ("mean", "max", "min", "sum") and inner[0] < back:
            raise QuestionError(
                "before_init",
                f"The running window of lead {inner[0] + 1} begins before this forecast does; the first whole one is "
                f"that of lead {back + 1}.",
                where=window_text(window),
                try_=(f"time=lead {back + 1}..{inner[1]}",),
            )
        pooled = " with one sample for each member and year" if isinstance(window, Each) else ""
        phrases = {
            "mean": f"{source}, averaged over {dates}{pooled}",
            "sum": f"{source}, added up over {dates}{pooled}",
            "any": f"in at least one {self.step} of {dates}{pooled}, {source}",
            "all": f"in every {self.step} of {dates}{pooled}, {source}",
            "count": f"the number of {self.step}s of {dates}{pooled} in which {source}",
            "run": f"the longest unbroken run of {self.step}s of {dates}{pooled} in which {source}",
        }
        return phrases.get(node.verb) or f"the {_EXTREMES[node.verb]} {self.step} of {source} in {dates}{pooled}"

    def comparison(self, node: Comparison, need: Need) -> str:
        """A number against its thresholds, which are worked out from the reference where they are relative."""
        source = self.words(node.source, need)
        limits = [self.threshold(node, threshold, need) for threshold in node.thresholds]
        verb, words = ("comes", _WHEN) if kind_of(node.source).quantity == "date" else ("is", _OPERATORS)
        if len(limits) == 2:
            return f"{source} {verb} {node.operator} {limits[0]} and {limits[1]}"
        return f"{source} {verb} {words[node.operator]} {limits[0]}"

    def threshold(self, node: Comparison, threshold: Threshold, need: Need) -> str:
        """A threshold in words, with its value in the unit of the data where that needs no hindcast."""
        quantity = self.inquiry.measure(node.source)
        model = self.inquiry.model if model_references(node.source) else None
        if model is not None and isinstance(threshold, Percentile | Sigma):
            self.note_threshold(node, threshold, quantity, reference=model.label)
            return f"{_relative(node, threshold)} in {model.label}"
        values = threshold_values(node, threshold, need, self.inquiry.members, self.inquiry.usual)
        factor, unit = quantity.shown
        low, high = factor * float(np.nanmin(values)), factor * float(np.nanmax(values))
        reference = self.inquiry.members.catalogue.reference
        is_relative = isinstance(threshold, Percentile | Sigma | Record)
        sample = self.sample(node.source, need) if is_relative else None
        whose = reference if is_relative else None
        self.note_threshold(node, threshold, quantity, low, high, reference=whose, sample=sample)
        varying = "by place" if self.step == "year" else "by place and season"
        shown = f"{low:.6g} {unit}" if low == high else f"{low:.6g} to {high:.6g} {unit}, {varying}"
        match threshold:
            case Absolute() if np.isclose(low, threshold.value):
                return threshold_text(threshold)
            case Day() | Absolute() if kind_of(node.source).quantity == "date":
                return threshold_text(threshold)
            case Absolute():
                return f"{threshold_text(threshold)} ({shown})"
        return f"{_relative(node, threshold)} in {reference} ({shown})"

    def sample(self, node: Expression, need: Need) -> Sample:
        """The reference values behind a relative threshold; while time is open those of the first step."""
        clock = float(self.inquiry.timeline.clock[need.start]) if kind_of(node).time else None
        return self.inquiry.climate.sample(node, need.cells, clock=clock)

    def note_threshold(
        self,
        node: Comparison,
        threshold: Threshold,
        quantity: Measure,
        *ends: float,
        reference: str | None,
        sample: Sample | None = None,
    ) -> None:
        """Note a threshold of a quantity with its value, or with its ends where that differs from place to place."""
        is_one = len(set(ends)) == 1
        self.thresholds.append(
            {
                "op": node.operator,
                "text": threshold_text(threshold),
                "value": ends[0] if is_one else None,
                "range": list(ends) if ends and not is_one else None,
                "units": quantity.label,
                "reference": reference,
                "reference_years": None if sample is None else sample.values.shape[MEMBER],
                "independent": None if sample is None else round(sample.independent, 1),
            }
        )

    def window(self, window: Window, verb: str) -> tuple[tuple[int, int], str]:
        """The steps of a window, and how to name it."""
        steps = resolve(window, self.inquiry.timeline)
        count = sum(stop - start for start, stop in steps.groups)
        note = {
            "text": window_text(window),
            "dates": list(steps.dates),
            "leads": list(steps.leads),
            "steps": count,
            "samples": len(steps.groups) if isinstance(window, Each) else 1,
            "means": self.meaning(window, verb, count, len(steps.groups)),
        }
        if note not in self.windows:
            self.windows.append(note)
        name = "the whole forecast" if isinstance(window, All) else window_text(window)
        return steps.span, f"{name} ({steps.dates[0]} to {steps.dates[1]})"

    def meaning(self, window: Window, verb: str, steps: int, samples: int) -> str:
        """Whether a window means its mean, any step of it, or its years pooled."""
        what = {
            "mean": "the mean of",
            "sum": "the total of",
            "max": "the highest of",
            "min": "the lowest of",
            "any": "any one of",
            "all": "every one of",
            "count": "how many of",
            "run": "the longest run within",
            "first": "the first of",
        }[verb]
        each = steps // samples
        plural = f"{each} {self.step}s" if each > 1 else f"one {self.step}"
        if isinstance(window, Each):
            return f"{what} {plural} in each of {samples} years, pooled: one sample for each member and year"
        return f"{what} {plural}"

    def note_region(self, region: Region) -> None:
        """Note a region once."""
        cells = self.inquiry.members.cells(region)
        note: dict[str, Any] = {
            "name": region.name if isinstance(region, Named) else region_text(region),
            "title": cells.title,
            "version": cells.version,
            "cells": cells.count,
            "area_km2": round(cells.area),
            "on_grid": round(cells.covered, 4),
        }
        if isinstance(region, Point):
            members = self.inquiry.members
            centre = float(members.latitude[cells.rows[0]]), float(members.longitude[cells.columns[0]])
            note["cell_centre"] = list(centre)
            note["distance_km"] = round(distance_km((region.latitude, region.longitude), centre), 1)
        if note not in self.regions:
            self.regions.append(note)

    def mean(self, node: Anomaly) -> str:
        """The mean that an anomaly is taken from."""
        model = self.inquiry.model
        if node.clim is None:
            return f"the {self.inquiry.members.catalogue.reference} mean"
        if model is not None and node.clim.source == "model":
            return f"the mean of {model.label}"
        self.inquiry.climate.years(node.clim)  # refuses those that the record does not hold
        return f"the {reference_text(node.clim)} mean"

    @property
    def step(self) -> str:
        """What one step is called."""
        timeline = self.inquiry.timeline
        return timeline.unit[:-1] if timeline.step == 1 else f"{timeline.step}-{timeline.unit[:-1]} step"


def _relative(node: Comparison, threshold: Threshold) -> str:
    """A threshold of a reference without its value: ``its 90th percentile``."""
    match threshold:
        case Percentile():
            return f"its {_ordinal(threshold)} percentile"
        case Sigma():
            return threshold_text(threshold)
        case _:
            return f"its {'highest' if node.operator in ('above', 'at_least') else 'lowest'} value"


def _ordinal(threshold: Threshold) -> str:
    """``90th``, ``33.3rd``: the rank of a percentile as people say it."""
    rank = threshold_text(threshold).removeprefix("p")
    suffix = "th" if rank[-2:] in ("11", "12", "13") else {"1": "st", "2": "nd", "3": "rd"}.get(rank[-1], "th")
    return rank + suffix


def _million(area: float) -> str:
    """An area in words that can be read."""
    return f"{area / 1e6:.1f} million" if area >= 1e6 else f"{area:,.0f}"
