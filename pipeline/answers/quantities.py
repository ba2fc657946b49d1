"""What the number on the left of a threshold is measured in, and thresholds in that unit.

The threshold is converted to the unit of the data, never the data to that of the threshold. After ``.anom`` a number
is a difference: 0.5 degC above normal is 0.5 K, not 273.65 K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pint

from pipeline.answers.catalogue import Catalogue
from pipeline.answers.extent import in_unit
from pipeline.answers.windows import Timeline, resolve
from pipeline.errors import InputRefusedError
from pipeline.events.errors import QuestionError
from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Comparison,
    Expression,
    First,
    Reduction,
    Region,
    Rolling,
    Variable,
)
from pipeline.units import READ_IN, conversion, registry

HOTTEST = 100.0
"""Degrees Celsius above which a bare number can only have meant kelvin."""
WATER_DENSITY = "1000 kg m-3"
DIFFERENCE = " (difference)"

_KINDS = {
    "[temperature]": "a temperature",
    "[length]": "a length",
    "[mass]": "a mass",
    "[time]": "a time",
    "[length] / [time]": "a speed or a rate of depth",
    "[mass] / [length] / [time] ** 2": "a pressure",
    "[mass] / [length] ** 2 / [time]": "a mass flux",
    "[mass] / [length] ** 2": "a mass per area",
    "[mass] / [time] ** 3": "an energy flux",
    "dimensionless": "a plain number",
}


@dataclass(frozen=True)
class Measure:
    """What a number is measured in.

    Attributes:
        name: The variable it comes from.
        units: Its unit, as CF writes it.
        is_difference: Whether it is a difference from a reference.
        is_water: Whether 1 mm of it weighs 1 kg m-2.
        steps: The unit of time it counts, for ``count`` and ``run``.
        length: How many of these one step is long.
    """

    name: str
    units: str
    is_difference: bool = False
    is_water: bool = False
    steps: str | None = None
    length: int = 1

    @property
    def shown(self) -> tuple[float, str]:
        """Factor and unit in which answers say it: pressure in hPa, water in mm, ``months``, ``steps of 5 days``."""
        if self.steps is not None:
            return 1.0, self.steps if self.length == 1 else f"steps of {self.length} {self.steps}"
        is_read_so = self.is_water or "kg" not in self.units
        return READ_IN.get(self.units, (1.0, self.units)) if is_read_so else (1.0, self.units)

    @property
    def label(self) -> str:
        """That unit, and whether it is of a difference: ``K (difference)``."""
        return self.shown[1] + DIFFERENCE * self.is_difference


def measure(node: Expression, catalogue: Catalogue, timeline: Timeline) -> Measure:
    """What an expression's number is measured in."""
    match node:
        case Variable():
            info = catalogue.variable(node.name)
            words = ("precipitation", "rain", "snow", "evapor", "runoff")
            is_water = info.name == "pr" or any(word in info.standard_name for word in words)
            return Measure(info.name, info.units, is_water=is_water)
        case Anomaly():
            return replace(measure(node.source, catalogue, timeline), is_difference=True)
        case Reduction():
            return _reduced(node, measure(node.source, catalogue, timeline), timeline)
        case Rolling() if node.verb == "sum":
            return _amount(measure(node.source, catalogue, timeline))
        case Rolling() | Comparison():
            return measure(node.source, catalogue, timeline)
        case First():
            return Measure(measure(node.source, catalogue, timeline).name, "1")
        case _:
            return Measure("condition", "1")


def possible(node: Expression, catalogue: Catalogue, timeline: Timeline) -> tuple[float, float]:
    """The least and the most that an expression's number can be, in the unit of its measure."""
    match node:
        case Variable():
            return catalogue.variable(node.name).valid_range
        case Reduction(verb="frac"):
            return 0.0, 100.0
        case Reduction(verb="count" | "run", axis=axis) if not isinstance(axis, Region):
            return 0.0, float(max(stop - start for start, stop in resolve(axis, timeline).groups))
        case Reduction(verb="mean" | "max" | "min") | Rolling(verb="mean" | "max" | "min"):
            return possible(node.source, catalogue, timeline)
        case _:
            return -math.inf, math.inf


def is_rate(units: str) -> bool:
    """Whether a unit is something per time, so that a sum over time is an amount."""
    return bool(registry().Unit(units).dimensionality.get("[time]", 0) == -1)


def in_data_units(threshold: Absolute, quantity: Measure) -> float:
    """A threshold as a number in the unit of the data.

    Raises:
        QuestionError: ``unit_missing`` or ``unit_wrong``.
    """
    if quantity.steps is not None:
        return _steps(threshold, quantity.steps, quantity.length)
    if quantity.units == "%":
        return threshold.value
    is_plain = _is_dimensionless(quantity.units)
    if not threshold.unit:
        if is_plain:
            return threshold.value
        raise _unit_missing(threshold.value, quantity)
    try:
        factor, offset = conversion(threshold.unit, quantity.units)
    except InputRefusedError:
        return threshold.value * _through_water(threshold, quantity)
    if quantity.is_difference:
        return threshold.value * (round(factor, 12) if offset else factor)
    return threshold.value * factor + offset


def _reduced(node: Reduction, source: Measure, timeline: Timeline) -> Measure:
    """The measure after a reduction."""
    if node.verb in ("count", "run"):
        return Measure(source.name, "1", steps=timeline.unit, length=timeline.step)
    if node.verb == "frac":
        return Measure(source.name, "%")
    if node.verb == "sum" and isinstance(node.axis, Region):
        return replace(source, units=_product(source.units, "m2"))
    return _amount(source) if node.verb == "sum" else source


def _amount(source: Measure) -> Measure:
    """The measure of a total over time: a rate becomes an amount."""
    return replace(source, units=_product(source.units, "s")) if is_rate(source.units) else source


def _product(first: str, second: str) -> str:
    """The product of two units, in CF's spelling."""
    return f"{registry().Unit(first) * registry().Unit(second):cf}"


def _steps(threshold: Absolute, unit: str, length: int) -> float:
    """A number of steps, each ``length`` of the store's unit, from a number of these or of whole multiples of them."""
    if threshold.unit in ("", "steps", "step"):
        return threshold.value
    count = in_unit(threshold.value, threshold.unit, unit)
    if count is not None:
        return count / length
    are = unit if length == 1 else f"{length} {unit} long"
    raise QuestionError(
        "unit_wrong",
        f"'{threshold.value:g} {threshold.unit}': counts and runs are in steps of this store, which are {are}.",
        where=f"{threshold.value:g} {threshold.unit}",
        try_=(f"{threshold.value:g} {unit}",),
    )


def _through_water(threshold: Absolute, quantity: Measure) -> float:
    """The factor from a depth of water to its mass."""
    try:
        if quantity.is_water:
            amount = registry().Quantity(1.0, threshold.unit) * registry().Quantity(WATER_DENSITY)
            return float(amount.to(quantity.units).magnitude)
    except (pint.PintError, ValueError, AttributeError):
        pass
    raise _unit_wrong(threshold, quantity)


def _unit_missing(value: float, quantity: Measure) -> QuestionError:
    if quantity.units == "K" and not quantity.is_difference and value < HOTTEST:
        example = f"{value:g} degC or {value + 273.15:g} K"
    else:
        example = f"{value:g} {quantity.units}"
    return QuestionError(
        "unit_missing",
        f"{value:g} of what? {quantity.name} is in {quantity.units}. Write {example}.",
        where=f"{value:g}",
        try_=tuple(example.split(" or ")),
    )


def _unit_wrong(threshold: Absolute, quantity: Measure) -> QuestionError:
    written = f"{threshold.value:g} {threshold.unit}"
    theirs = _meaning(threshold.unit)
    is_what = f"is {theirs}" if theirs else "has a unit that is not known"
    ours = _meaning(quantity.units)
    text = f"'{written}' {is_what}; {quantity.name} is {ours or 'measured'} ({quantity.units})."
    return QuestionError("unit_wrong", text, where=written)


def _meaning(unit: str) -> str | None:
    """What a unit measures, in words."""
    try:
        dimensions = str(registry().Unit(unit).dimensionality)
    except (pint.PintError, ValueError, AttributeError, TypeError):
        return None
    return _KINDS.get(dimensions, f"measured in {unit}")


def _is_dimensionless(unit: str) -> bool:
    try:
        return bool(registry().Unit(unit).dimensionless) and unit != "%"
    except (pint.PintError, ValueError, AttributeError, TypeError):
        return False
