"""The number behind an event and how far it lies from its threshold: distribution, ties, thresholds too far out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.evaluate import threshold_values
from pipeline.answers.headline import amounts, minus
from pipeline.answers.probability import Inquiry, Tally
from pipeline.answers.quantities import DIFFERENCE
from pipeline.answers.trajectories import Need
from pipeline.errors import InputRefusedError
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import Absolute, Anomaly, Comparison, Expression, children
from pipeline.events.write import number
from pipeline.units import conversion

Array = NDArray[np.float64]

RANKS = (5, 25, 50, 75, 95)
TIE = 1e-6
MUCH_SHARED = 0.1  # of the reference sample that has one value
SMALL_DIFFERENCE = 10  # degrees that are more likely meant as a difference than as a temperature


@dataclass(frozen=True)
class Margin:
    """The number that an event compares with one threshold, where the event is such a comparison.

    Attributes:
        comparison: The comparison, or None.
        name: The variable that it is about.
        values: ``(scenario, member, sample)`` in ``units``, NaN where unknown.
        threshold: In ``units``.
        usual: The reference sample, ``(windows,)``.
        years: Length of one of its windows in years.
        units: Of values, threshold and reference.
        reason: Why there is none of all this, where the event is no such comparison.
    """

    comparison: Comparison | None = None
    name: str = ""
    values: Array | None = None
    threshold: float = np.nan
    usual: Array | None = None
    years: float = 1.0
    units: str = ""
    reason: str = "The event is not one number against one threshold."

    def distribution(self, index: int) -> dict[str, Any] | None:
        """Quantiles of one scenario's members and of the reference, and the threshold's place among the members."""
        if self.values is None or self.usual is None:
            return None
        own = self.values[index][~np.isnan(self.values[index])]
        if not own.size:
            return None
        return {
            "units": self.units,
            "threshold": self.threshold,
            "threshold_quantile": float((own < self.threshold).mean()),
            "quantiles": quantiles(own),
            "reference_quantiles": quantiles(self.usual),
        }

    def ties(self, index: int) -> int | None:
        """Samples so close to the threshold that rounding decides; None where there is not one threshold."""
        if self.values is None:
            return None
        return self._at_threshold(self.values[index])

    def _at_threshold(self, values: Array) -> int:
        close = np.abs(values - self.threshold) <= TIE * max(abs(self.threshold), 1e-30)
        return int(close.sum())

    def warnings(
        self, tallies: Sequence[Tally], scenarios: Sequence[str], skill: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        """What is odd about a threshold: an absolute one that was never seen, one of the climate that many years share.

        Args:
            tallies: The members' counts, one for each scenario.
            scenarios: Their names, none where there is only one and it is not named.
            skill: The track record, with ``events`` of so many ``cases`` where it was counted.

        Raises:
            QuestionError: ``anomaly_offset``, for a small number of degrees that was surely meant as a difference.
        """
        comparison = self.comparison
        if comparison is None or self.values is None or self.usual is None:
            return []
        threshold = comparison.thresholds[0]
        if not isinstance(threshold, Absolute):
            return self._shared(self.usual)
        lowest, highest = float(self.usual.min()), float(self.usual.max())
        if lowest <= self.threshold <= highest:
            return []
        beyond = _distance(self.threshold, np.append(self.values, self.usual))
        spreads_out = beyond / max(highest - lowest, 1e-12)
        if spreads_out > 1:
            self._refuse_offset(threshold)
        written = f"{minus(number(threshold.value))} {threshold.unit}".rstrip()
        ends, unit = self._written((lowest, highest), threshold)
        seen = f"highest {ends[1]} {unit}" if self.threshold > highest else f"lowest {ends[0]} {unit}"
        if spreads_out > 5:
            side = "higher" if self.threshold > highest else "lower"
            text = f"{written} is {side} than anything in {self._record(self.usual.size)} ({seen})."
            return [{"code": "threshold_looks_wrong", "text": f"{text} {self._meant(threshold, lowest, highest)}"}]
        text = (
            f"{written} lies beyond all {self._record(self.usual.size)} ({seen}); {_reached(tallies, scenarios)}. "
            f"{_record_so_far_out(skill)}"
        )
        return [{"code": "threshold_never_seen", "text": text}]

    def _shared(self, usual: Array) -> list[dict[str, str]]:
        """That a percentile does not part the reference as its number says, as where a third of it is dry."""
        same = self._at_threshold(usual)
        if same <= max(1, MUCH_SHARED * usual.size):
            return []
        text = (
            f"{same} of {self._record(usual.size)} are just at the threshold, {amounts([self.threshold])[0]} "
            f"{self.units}: < and > leave them out, <= and >= count them."
        )
        return [{"code": "threshold_shared", "text": text}]

    def _record(self, count: int) -> str:
        """What the reference sample is."""
        windows = f"windows of {self.years:.0f} years"
        return f"{count} reference years" if self.years <= 1 else f"{count} overlapping reference {windows}"

    def _written(self, values: tuple[float, float], threshold: Absolute) -> tuple[list[str], str]:
        """Values of the data in the unit of the threshold, if they have one in it, to compare at a glance."""
        unit = threshold.unit
        try:
            factor, offset = conversion(unit, self.units.removesuffix(DIFFERENCE))
        except InputRefusedError:  # a volume of water, whose mass its density gives
            if threshold.value == 0:
                return amounts(values), self.units
            factor, offset = self.threshold / threshold.value, 0.0
        zero = 0.0 if DIFFERENCE in self.units else offset
        return amounts([(value - zero) / factor for value in values]), unit

    def _meant(self, threshold: Absolute, lowest: float, highest: float) -> str:
        """The temperature scale in which the same number would lie among what was seen, if there is one."""
        for unit in ("degC", "degF", "K") if self.units == "K" else ():
            factor, offset = conversion(unit, self.units)
            other = threshold.value * factor + offset
            is_same = abs(other - self.threshold) < TIE * abs(self.threshold)
            if not is_same and lowest - SMALL_DIFFERENCE <= other <= highest + SMALL_DIFFERENCE:
                return f"Did you mean {number(threshold.value)} {unit}?"
        return "Is the unit right?"

    def _refuse_offset(self, threshold: Absolute) -> None:
        """Half a degree Celsius without ``.anom`` is nearly freezing; say so instead of answering never or always."""
        comparison = self.comparison
        if comparison is None or _has_anomaly(comparison) or abs(threshold.value) > SMALL_DIFFERENCE:
            return
        if threshold.unit not in ("degC", "celsius", "°C"):
            return
        written = f"{number(threshold.value)} {threshold.unit}"
        raise QuestionError(
            "anomaly_offset",
            f"{written} on {self.name} without .anom is an absolute {written}, far from every member. For '{written} "
            f"above normal' write {self.name}.anom.",
            where=written,
            try_=(f"{self.name}.anom",),
        )


def _distance(threshold: float, values: Array) -> float:
    """From a threshold to the nearest of some values on its way out; 0 where it lies among them."""
    return max(0.0, threshold - float(np.nanmax(values)), float(np.nanmin(values)) - threshold)


def margin_of(inquiry: Inquiry) -> Margin:
    """The number behind an event that is one comparison with one threshold.

    Empty for any other event, and where the reference has no value of it.
    """
    node = inquiry.question.subject
    if not isinstance(node, Comparison) or len(node.thresholds) != 1:
        return Margin()
    if kind_of(node.source).quantity != "number":
        return Margin()
    quantity = inquiry.measure(node.source)
    factor, _ = quantity.shown
    values = factor * inquiry.values(node.source).known()[..., 0, 0]
    whole = Need(None, 0, inquiry.timeline.size)
    threshold = threshold_values(node, node.thresholds[0], whole, inquiry.members, inquiry.usual).ravel()[0]
    try:
        sample = inquiry.climate.sample(node.source, None)
    except QuestionError as error:
        return Margin(reason=error.text)
    usual = factor * sample.values[~np.isnan(sample.values)]
    if not usual.size:
        return Margin(reason="The reference has no value of this number.")
    return Margin(node, quantity.name, values, factor * float(threshold), usual, sample.years, quantity.label)


def quantiles(values: Array) -> dict[str, float]:
    """The 5, 25, 50, 75 and 95 % quantiles."""
    return {str(rank): float(value) for rank, value in zip(RANKS, np.percentile(values, RANKS), strict=True)}


def _reached(tallies: Sequence[Tally], scenarios: Sequence[str]) -> str:
    """How many samples have the event, of each scenario."""
    first, *others = [f"{tally.events} of {tally.counted}" for tally in tallies]
    if not others:
        return f"{first} samples have the event"
    under = [f"{count} under {name}" for count, name in zip([f"{first} samples", *others], scenarios, strict=True)]
    return f"the event is in {' and '.join(under)}"


def _record_so_far_out(skill: Mapping[str, Any]) -> str:
    """Whether past forecasts ever met such an event."""
    if skill.get("events"):
        return f"It came true in {skill['events']} of {skill['cases']} past cases."
    past = f" in {skill['cases']} past cases" if skill.get("cases") else ""
    return f"There is no record{past} of this system being right so far out."


def _has_anomaly(node: Expression) -> bool:
    return isinstance(node, Anomaly) or any(_has_anomaly(child) for child in children(node))
