"""Figures of an answer: what a notebook shows below its card, and what the command line writes as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.card import skill_text
from pipeline.answers.comparison import SIDES
from pipeline.answers.contrast_field import VERDICTS
from pipeline.answers.views import exceedance, plume
from pipeline.errors import TercileError
from pipeline.events.tree import Variable, children
from pipeline.reporting.figures import (
    FanChart,
    Picture,
    chance_chart,
    encode_picture,
    exceedance_curves,
    fan_chart,
    field_map,
    reliability_diagram,
)
from pipeline.reporting.palette import difference_classes, probability_classes, styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.answers.answer import Answer

Floats = NDArray[np.float64]
QUANTILES = (5, 25, 50, 75, 95)


class Plots:
    """The figures of one answer, each a matplotlib ``Figure``.

    Args:
        answer: Of the question.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def map(self) -> Figure:
        """The chance at each cell, of a ``map`` question; of two scenarios their difference, hatched where unclear."""
        field = self.answer.members
        if "latitude" not in field.dims:
            raise TercileError("plot: only a 'map of …' question has a map.")
        if "difference" not in field:
            shares = 100 * field["probability"]
            quantity = "share of members (%)"
            return field_map(shares, classes=probability_classes(), quantity=quantity, title=self._title)
        one, other = self.answer.inquiry.scenarios
        return field_map(
            (100 * field["difference"]).round(4),  # what lies on the edge of a class is there, not just below
            classes=difference_classes(),
            quantity=f"share of members, {one} less {other} (points)",
            title=self._title,
            hatched=field["difference_verdict"] == VERDICTS.index("no_clear_difference"),
            meaning="no clear difference",
        )

    def series(self) -> Figure:
        """The chance at each step, of a ``series`` question, with its interval and what is usual."""
        field = self.answer.members
        if "lead_time" not in field.dims or "probability" not in field:
            raise TercileError("plot: only a 'series of …' question has a series.")
        each = field if "scenario" in field.dims else field.expand_dims(scenario=[""])
        timeline = self.answer.inquiry.timeline
        chances = {
            str(name): np.stack([100 * each[part].sel(scenario=name).values for part in ("low", "probability", "high")])
            for name in each["scenario"].values
        }
        verdict = field.get("difference_verdict")
        return chance_chart(
            chances,
            base=100 * each["base_rate"].isel(scenario=0).values,
            clear=None if verdict is None else (verdict == VERDICTS.index("clear_difference")).values,
            dates={step: timeline.name(step) for step in range(timeline.size)},
            quantity="share of members (%)",
        )

    def plume(self) -> Figure:
        """Fans of the number behind the question over the leads, with the record before and what is usual."""
        view = plume(self.answer.inquiry)
        if view is None:
            raise TercileError("plot: there is no one number for each step behind this question.")
        steps = np.arange(len(view["dates"]), dtype=float)
        past = np.arange(-len(view["past"]["values"]), 0, dtype=float)
        labels = [*view["past"]["dates"], *view["dates"]]
        chart = FanChart(
            x=steps,
            fans={name: _quantiles(rows) for name, rows in view["members"].items()},
            base=np.array([_floats(view["low"]), _floats(view["high"])]),
            past=(past, _floats(view["past"]["values"])),
            later={},
            quantity=f"{self._subject} ({view['units']})",
            time="",
            dates={int(step): label for step, label in zip([*past, *steps], labels, strict=True)},
        )
        return fan_chart(chart)

    def exceedance(self) -> Figure:
        """The share of members above each value, with the reference's."""
        view = exceedance(self.answer.inquiry)
        if view is None:
            raise TercileError("plot: there is no one number behind this question.")
        return _exceedance(view, self._quantity(view))

    def reliability(self) -> Figure:
        """How often the event came true in past forecasts, for each share of members that said so."""
        found = self.answer.to_json()["skill"].get("reliability")
        if not found:
            raise TercileError("plot: the skill of this question has not been measured.")
        names = {"recalibrated": "happened", "band_low": "band_low", "band_high": "band_high"}
        table = xr.Dataset(
            {name: ("probability", _floats(found[of])) for name, of in names.items()},
            coords={"probability": _floats(found["said"])},
        )
        return reliability_diagram(
            {"members": table}, quantity="share of members", banded="members", look=styles(["members"])
        )

    def compare(self, other: Answer) -> Figure:
        """Two answers' exceedance curves on one axis.

        Args:
            other: An answer about a number in the same units.

        Raises:
            TercileError: A question without one number behind it, or numbers in other units.
        """
        mine, others = (exceedance(answer.inquiry) for answer in (self.answer, other))
        if mine is None or others is None:
            raise TercileError("plot: there is no one number behind one of these questions.")
        if mine["units"] != others["units"]:
            raise TercileError(f"plot: {mine['units']} and {others['units']} have no axis in common.")
        curves = {
            f"{name} {scenario}".strip(): _curve(values)
            for name, view in zip(SIDES, (mine, others), strict=True)
            for scenario, values in view["values"].items()
        }
        return exceedance_curves(curves, base=_curve(mine["reference"]), quantity=self._quantity(mine))

    def main(self) -> Figure:
        """The figure that says most about this kind of question."""
        match self.answer.to_json()["question"]["ask"]:
            case "map":
                return self.map()
            case "series":
                return self.series()
        return self.plume() if exceedance(self.answer.inquiry) is None else self.exceedance()

    @property
    def _title(self) -> str:
        return str(self.answer.to_json()["question"]["text"])

    def _quantity(self, view: Mapping[str, Any]) -> str:
        """The number behind a question with its units, as an axis says it."""
        return f"{self._subject if view['quantity'] == 'number' else 'share of the area'} ({view['units']})"

    @property
    def _subject(self) -> str:
        """The variable that a question begins with, by its long name."""
        inquiry = self.answer.inquiry
        node = inquiry.question.subject
        while not isinstance(node, Variable):
            node = children(node)[0]
        return inquiry.members.catalogue.variable(node.name).long_name or node.name


def answer_picture(answer: Answer, form: Picture = "png") -> bytes:
    """A picture of an answer that says what it is of: question, headline with the base rate, skill and origin in it."""
    payload = answer.to_json()
    skill, origin = f"Skill: {skill_text(payload['skill'])}.", _origin(payload["provenance"])
    words = payload["question"]["text"], payload["headline"]["text"], skill, origin
    return _titled(answer.plot.main(), *words, form=form)


def comparison_picture(first: Answer, second: Answer, form: Picture = "png") -> bytes:
    """A picture of two answers on one axis that says what it is of: both questions, their difference and origins."""
    found = first.compare(second)
    payloads = found["answers"]
    asked = [f"{name}: {payload['question']['text']}" for name, payload in zip(SIDES, payloads, strict=True)]
    origins = dict.fromkeys(_origin(payload["provenance"]) for payload in payloads)
    return _titled(first.plot.compare(second), *asked, found["headline"]["text"], "; ".join(origins), form=form)


def _titled(figure: Figure, *words: str, form: Picture) -> bytes:
    """The picture with lines of words above it, for which it grows."""
    width, height = figure.get_size_inches()
    lines = "\n".join(_wrapped(word) for word in words)
    figure.set_size_inches(width, height + 0.16 * (lines.count("\n") + 2))
    figure.suptitle(lines, fontsize=7.5, x=0.02, ha="left")
    return encode_picture(figure, form)


def _exceedance(view: Mapping[str, Any], quantity: str) -> Figure:
    curves = {name: _curve(values) for name, values in view["values"].items()}
    figure = exceedance_curves(curves, base=_curve(view["reference"]), quantity=quantity)
    for threshold in view["thresholds"]:
        figure.axes[0].axvline(threshold, color="#1a1a1a", lw=1, dashes=(4, 2))
    return figure


def _curve(values: list[float | None]) -> tuple[Floats, Floats]:
    """Values in order, and the share in % that lies above each."""
    ordered = np.sort(_floats(values)[~np.isnan(_floats(values))])
    return ordered, 100 * (1 - (np.arange(ordered.size) + 0.5) / max(1, ordered.size))


def _quantiles(rows: list[list[float | None]]) -> Floats:
    return np.asarray(np.nanpercentile(np.array([_floats(row) for row in rows]), QUANTILES, axis=0))


def _floats(values: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _origin(origin: Mapping[str, Any]) -> str:
    """Which forecast, and of which state of the stores: what ``as_of`` gives again."""
    state = f"as of {origin['as_of']}, snapshot {origin['snapshot']}" if "snapshot" in origin else "not stored"
    return f"{origin['forecast']}, {state}"


def _wrapped(text: str) -> str:
    from textwrap import fill

    return fill(text, 68)
