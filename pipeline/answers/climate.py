"""What is usual: the same expression, evaluated on the reference record.

Anomalies, percentiles, sigmas, records and base rates all come from here, but for those of members that are compared
with their own model (:mod:`pipeline.answers.model_climate`). An expression that is still open in time is compared with
the same place in the calendar in each reference year; one that was closed by a window is compared with the same window
in each reference year, and a window of several years with every run of as many years that the record holds. Those runs
overlap, so they count as fewer: a decade in 140 years as 14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.bounds import MEMBER, STEP, Bounds
from pipeline.answers.extent import reach_of, span_of_all
from pipeline.answers.trajectories import Need, Record, Trajectories
from pipeline.answers.windows import Timeline
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Expression, Reference
from pipeline.places.regions import Cells

Array = NDArray[Any]
Evaluator = Callable[[Expression, Need, Trajectories, "Usual"], Bounds]
Years = tuple[int, int]


class Usual(Protocol):
    """What trajectories are compared with where a question says ``anom``, ``p90``, ``2 sigma`` or ``record``."""

    def statistic(
        self,
        node: Expression,
        need: Need,
        timeline: Timeline,
        statistic: Statistic,
        *,
        reference: Reference | None = None,
    ) -> Array:
        """A statistic of what is usual for an expression, shaped to broadcast against its values."""


@dataclass(frozen=True)
class Statistic:
    """A number that a reference sample is summed up in; ``amount`` is a percentile's rank or a multiple of sigma."""

    kind: Literal["mean", "percentile", "sigma", "highest", "lowest"]
    amount: float = 0.0

    def of(self, values: Array) -> Array:
        """The statistic over the members; NaN wherever any of them is missing."""
        match self.kind:
            case "mean":
                return np.asarray(values.mean(axis=MEMBER, keepdims=True))
            case "percentile":
                return np.quantile(values, self.amount / 100, axis=MEMBER, keepdims=True, method="weibull")
            case "sigma":
                spread = values.std(axis=MEMBER, keepdims=True, ddof=1)
                return np.asarray(values.mean(axis=MEMBER, keepdims=True) + self.amount * spread)
            case "highest":
                return np.asarray(values.max(axis=MEMBER, keepdims=True))
            case "lowest":
                return np.asarray(values.min(axis=MEMBER, keepdims=True))


@dataclass(frozen=True)
class Sample:
    """The reference values of one expression.

    Attributes:
        values: ``(1, pieces, 1, latitude, longitude)``, NaN where not known.
        independent: How many independent values they are worth.
        years: Length of one piece in years, at least one.
    """

    values: Array
    independent: float
    years: float

    def check(self, statistic: Statistic) -> None:
        """Refuse a percentile that so few independent values do not have.

        Raises:
            QuestionError: ``percentile_too_fine``.
        """
        finest = 100 * self.independent / (self.independent + 1)
        if statistic.kind != "percentile" or 100 - finest <= statistic.amount <= finest:
            return
        what = "reference years" if self.years <= 1 else f"independent reference windows of {self.years:.0f} years"
        end = f"p{int(finest)}" if statistic.amount > 50 else f"p{int(np.ceil(100 - finest))}"
        raise QuestionError(
            "percentile_too_fine",
            f"p{statistic.amount:g} of {int(self.independent)} {what}: the finest is {end}.",
            where=f"p{statistic.amount:g}",
            try_=(end,),
        )


@dataclass
class Climate:
    """The reference record as seen from one forecast.

    Attributes:
        record: The reference record.
        forecast: The timeline whose windows are replayed.
        evaluate: The evaluator, handed in because it needs this in turn.
    """

    record: Record
    forecast: Timeline
    evaluate: Evaluator
    _samples: dict[object, Sample] = field(default_factory=dict)
    _wholes: dict[object, Bounds] = field(default_factory=dict)

    def statistic(
        self,
        node: Expression,
        need: Need,
        timeline: Timeline,
        statistic: Statistic,
        *,
        reference: Reference | None = None,
    ) -> Array:
        """A statistic of the reference sample, shaped to broadcast against the expression's own values.

        Args:
            node: The expression on the left of a threshold, or before ``anom``.
            need: The cells and, while time is open, the steps of ``timeline``.
            timeline: Of the trajectories that are being evaluated.
            statistic: Which.
            reference: Other years than all of the record, which also stands for the model's own climatology: what
                happened is compared with what usually does.

        Raises:
            QuestionError: ``percentile_too_fine`` or ``reference_period``.
        """
        years = self.years(reference)
        if not kind_of(node).time:
            return _checked(self.sample(node, need.cells, years=years), statistic)
        clocks, of_step = np.unique(timeline.clock[need.start : need.stop], return_inverse=True)
        samples = (self.sample(node, need.cells, clock=float(clock), years=years) for clock in clocks)
        values = np.concatenate([_checked(sample, statistic) for sample in samples], axis=STEP)
        return values if clocks.size == 1 else values[:, :, of_step]

    def sample(
        self, node: Expression, cells: Cells | None, *, clock: float | None = None, years: Years | None = None
    ) -> Sample:
        """The reference values of an expression: at one place in the calendar, or of its own window."""
        key = (node, None if cells is None else cells.region, clock, years)
        if key not in self._samples:
            build = self._of_window(node, cells, years) if clock is None else self._of_step(node, cells, clock, years)
            self._samples[key] = build
        return self._samples[key]

    def forget(self) -> None:
        """Let go of what was read and worked out."""
        self.record.forget()
        self._samples.clear()
        self._wholes.clear()

    def _of_step(self, node: Expression, cells: Cells | None, clock: float, years: Years | None) -> Sample:
        """The values at one place in the calendar, one for each year."""
        key = (node, None if cells is None else cells.region)
        size = self.record.timeline.size
        if key not in self._wholes:
            self._wholes[key] = self.evaluate(node, Need(cells, 0, size), self.record.whole(), self)
        back, ahead = reach_of(node, self.record.timeline)
        places = self.record.positions(clock, years=years)
        places = places[(places >= back) & (places < size - ahead)]
        whole = self._wholes[key]
        values = Bounds(whole.low[:, :, places], whole.high[:, :, places]).known() if places.size else np.empty(0)
        return self._sampled(np.swapaxes(values, MEMBER, STEP) if places.size else values, 1.0, 1.0)

    def _of_window(self, node: Expression, cells: Cells | None, years: Years | None) -> Sample:
        """The values of the same window, one for each year that it can begin in."""
        return self._replayed((node,), cells, years)[0]

    def joint_samples(self, nodes: tuple[Expression, ...]) -> list[Sample]:
        """The values of several expressions in the same pieces of the record."""
        return self._replayed(nodes, None, None)

    def _replayed(self, nodes: tuple[Expression, ...], cells: Cells | None, years: Years | None) -> list[Sample]:
        timeline = self.forecast
        start, stop = span_of_all(nodes, timeline)
        length = (stop - start) * timeline.step_days / timeline.year_length
        pieces = self.record.replays(timeline, start, stop, years=years)
        if not pieces.pieces:
            return [self._sampled(np.empty(0), 0.0, length) for _ in nodes]
        need = Need(cells, start, stop)
        values = [self.evaluate(node, need, pieces, self).known() for node in nodes]
        return [self._sampled(value, length, length) for value in values]

    def _sampled(self, values: Array, length: float, years: float) -> Sample:
        """A sample with its worth: pieces of more than a year overlap."""
        pieces = values.shape[MEMBER] if values.ndim > 1 else 0
        if not pieces:
            available = self.record.timeline.size * self.record.timeline.step_days / self.record.timeline.year_length
            raise QuestionError(
                "reference_too_short",
                f"The reference record has {available:.0f} years, too few to replay a window of {years:.0f} years in.",
            )
        longer = max(1.0, length)
        return Sample(values, (pieces - 1 + longer) / longer, max(1.0, years))

    def years(self, reference: Reference | None) -> Years | None:
        """The years of a reference period other than the whole record.

        Raises:
            QuestionError: ``reference_period``, where the record does not hold them.
        """
        if reference is None or reference.years is None or reference.source == "model":
            return None
        first, last = reference.years
        of_step = self.record.timeline.keys // 10_000
        if first < of_step[0] or last > of_step[-1]:
            held = f"{int(of_step[0])}-{int(of_step[-1])}"
            raise QuestionError(
                "reference_period",
                f"{first}-{last} is not within the reference record, which holds {held}.",
                try_=(f"hist:{held}",),
            )
        return reference.years


def _checked(sample: Sample, statistic: Statistic) -> Array:
    """A statistic that the sample can carry."""
    sample.check(statistic)
    return statistic.of(sample.values)
