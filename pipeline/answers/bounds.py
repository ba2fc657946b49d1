"""Values that are known between two bounds: three-valued logic, and numbers with missing parts.

A missing number may be anything, so it lies between minus and plus infinity; an unknown condition lies between False
and True. Every step keeps the bounds honest: "some month was above 27" is true as soon as one known month was, false
only when all are known, and unknown otherwise. A missing value never counts as False.

Arrays have five axes, ``(scenario, member, step, latitude, longitude)``; an axis that is closed keeps length one, so
that everything broadcasts. Where nothing is missing ``low`` and ``high`` are the same object, and work is done once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MEMBER, STEP, LATITUDE, LONGITUDE = 1, 2, 3, 4

VALUES_AT_ONCE = 1_000_000  # that are copied in one go
PERCENT_DIGITS = 9  # so that all of an area is 100 %, and three of ten equal cells are 30 %


@dataclass(frozen=True)
class Bounds:
    """What a value is at least and at most; the same array twice where it is known."""

    low: Array
    high: Array

    @property
    def is_exact(self) -> bool:
        """Whether nothing at all is missing."""
        return self.low is self.high

    @property
    def unknown(self) -> Array:
        """Where the value is not known."""
        return np.zeros(self.low.shape, dtype=bool) if self.is_exact else self.low != self.high

    def apply(self, rising: Callable[[Array], Array]) -> Bounds:
        """A function that never falls as its argument rises."""
        low = rising(self.low)
        return Bounds(low, low if self.is_exact else rising(self.high))

    def known(self) -> Array:
        """The values as floats, NaN where they are not known."""
        return self.low.astype(np.float64) if self.is_exact else np.where(self.unknown, np.nan, self.low)

    def steps(self, start: int, stop: int) -> Bounds:
        """A part of the axis of time."""
        return self.apply(lambda values: values[:, :, start:stop])


def from_data(values: Array) -> Bounds:
    """Stored numbers, NaN where missing."""
    missing = np.isnan(values)
    if not missing.any():
        return Bounds(values, values)
    return Bounds(np.where(missing, -np.inf, values), np.where(missing, np.inf, values))


def minus(values: Bounds, reference: Array) -> Bounds:
    """Values less a reference; unknown where the reference is NaN."""
    if not np.isnan(reference).any():
        return values.apply(lambda side: side - reference)
    missing = np.isnan(reference)
    return Bounds(
        values.low - np.where(missing, np.inf, reference), values.high - np.where(missing, -np.inf, reference)
    )


def compare(values: Bounds, operator: str, thresholds: Sequence[Array]) -> Bounds:
    """A comparison; unknown where a threshold is NaN."""
    if operator in ("between", "outside"):
        inside = both(compare(values, "at_least", thresholds[:1]), compare(values, "below", thresholds[1:]))
        return inside if operator == "between" else negate(inside)
    tests: dict[str, Callable[[Array, Array], Array]] = {
        "above": np.greater,
        "at_least": np.greater_equal,
        "below": np.less,
        "at_most": np.less_equal,
    }
    test, threshold = tests[operator], thresholds[0]
    rising = operator in ("above", "at_least")
    certain = test(values.low if rising else values.high, threshold)
    missing = np.isnan(threshold)
    if values.is_exact and not missing.any():
        return Bounds(certain, certain)
    return Bounds(certain, test(values.high if rising else values.low, threshold) | missing)


def negate(condition: Bounds) -> Bounds:
    """Not."""
    if condition.is_exact:
        opposite = ~condition.low
        return Bounds(opposite, opposite)
    return Bounds(~condition.high, ~condition.low)


def both(first: Bounds, second: Bounds) -> Bounds:
    """And."""
    return _pairwise(np.logical_and, first, second)


def either(first: Bounds, second: Bounds) -> Bounds:
    """Or."""
    return _pairwise(np.logical_or, first, second)


def over_cells(values: Bounds, verb: str, weights: Array) -> tuple[Bounds, float]:
    """Close the axes of space.

    Cells that are missing at every step of every member (land in an ocean field) only change the weights.

    Args:
        values: Numbers or conditions on the cells of a region.
        verb: mean, max, min, sum, any, all or frac, which is in percent.
        weights: Area of each cell within the region, ``(latitude, longitude)``.

    Returns:
        The reduced values, and the share of the region's area that has data.
    """
    used = weights > 0
    if not values.is_exact:
        used &= ~_never_known(values)
    area = weights[used]
    valid = float(area.sum() / weights.sum())
    if not area.size:
        return _nothing(values), 0.0
    reducers: dict[str, Callable[[Array], Array]] = {
        "mean": lambda cells: np.asarray(cells, dtype=np.float64) @ (area / area.sum()),
        "frac": lambda cells: np.round(100 * (np.asarray(cells, dtype=np.float64) @ area) / area.sum(), PERCENT_DIGITS),
        "sum": lambda cells: np.asarray(cells, dtype=np.float64) @ (area * 1e6),
        "max": lambda cells: cells.max(axis=-1),
        "min": lambda cells: cells.min(axis=-1),
        "any": lambda cells: np.asarray(cells.any(axis=-1)),
        "all": lambda cells: np.asarray(cells.all(axis=-1)),
    }
    return values.apply(lambda side: _by_steps(side, np.flatnonzero(used), reducers[verb])), valid


def _by_steps(side: Array, used: Array, reduce: Callable[[Array], Array]) -> Array:
    """The cells in use reduced some steps at a time, so that no second copy of all of them is made."""
    at_once = max(1, VALUES_AT_ONCE // max(1, side[:, :, :1].size))
    parts = []
    for first in range(0, side.shape[STEP], at_once):
        cells = side[:, :, first : first + at_once].reshape(*side.shape[:STEP], -1, side[0, 0, 0].size)
        parts.append(reduce(cells if used.size == cells.shape[-1] else cells[..., used]))
    return np.concatenate(parts, axis=STEP)[..., np.newaxis, np.newaxis]


def over_steps(
    values: Bounds, verb: str, groups: Sequence[tuple[int, int]], seconds: Array, *, is_rate: bool
) -> Bounds:
    """Close the axis of time, or leave one sample for each group of steps.

    Args:
        values: Numbers or conditions, step 0 the first of the groups' numbering.
        verb: mean (by length of step), max, min, sum, any, all, count or run.
        groups: Half-open ranges of steps.
        seconds: Length of each step.
        is_rate: Whether ``sum`` multiplies by the length of the step.
    """

    def reduced(side: Array) -> Array:
        parts = [_over_time(side[:, :, start:stop], verb, seconds[start:stop], is_rate) for start, stop in groups]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=STEP)

    return values.apply(reduced)


def rolling(values: Bounds, verb: str, length: int, seconds: Array, *, is_rate: bool) -> Bounds:
    """A trailing window over ``length`` steps; unknown until there are so many."""
    steps = values.low.shape[STEP]
    whole = [(end - length + 1, end + 1) for end in range(length - 1, steps)]
    missing = min(length - 1, steps)
    shape = (*values.low.shape[:STEP], missing, *values.low.shape[LATITUDE:])
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    if not whole:
        return Bounds(low, high)
    rolled = over_steps(values, verb, whole, seconds, is_rate=is_rate)
    if missing == 0:
        return rolled
    return Bounds(np.concatenate([low, rolled.low], axis=STEP), np.concatenate([high, rolled.high], axis=STEP))


def first_run(condition: Bounds, length: int) -> Bounds:
    """The step at which the first run of ``length`` true steps begins; infinity where there is none."""
    earliest = _first(condition.high, length)
    return Bounds(earliest, earliest if condition.is_exact else _first(condition.low, length))


def followed(condition: Bounds, event: Bounds, within: int) -> Bounds:
    """True at a step where the condition holds and the event does at some step of the next ``within``."""
    later = Bounds(_soon(event.low, within, beyond=False), _soon(event.high, within, beyond=True))
    return both(condition, later)


def _pairwise(join: Callable[[Array, Array], Array], first: Bounds, second: Bounds) -> Bounds:
    low = join(first.low, second.low)
    return Bounds(low, low if first.is_exact and second.is_exact else join(first.high, second.high))


def _never_known(values: Bounds) -> Array:
    """Cells without a single known value."""
    if values.low.dtype == bool:
        nothing = ~values.low & values.high
    else:
        nothing = np.isneginf(values.low) & np.isposinf(values.high)
    return np.asarray(nothing.all(axis=(0, 1, 2)))


def _nothing(values: Bounds) -> Bounds:
    """A value of which nothing is known."""
    shape = (*values.low.shape[:LATITUDE], 1, 1)
    if values.low.dtype == bool:
        return Bounds(np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool))
    return Bounds(np.full(shape, -np.inf), np.full(shape, np.inf))


def _over_time(values: Array, verb: str, seconds: Array, is_rate: bool) -> Array:
    """One group of steps to one sample."""
    match verb:
        case "mean":
            return np.asarray(_weighted(values, seconds) / seconds.sum())
        case "sum":
            return _weighted(values, seconds) if is_rate else _total(values)
        case "count":
            return _total(values)
        case "run":
            return longest(values)
        case "max" | "any":
            return np.asarray(values.max(axis=STEP, keepdims=True))
        case _:
            return np.asarray(values.min(axis=STEP, keepdims=True))


def _weighted(values: Array, weights: Array) -> Array:
    """The weighted total over time, step by step, so that no second copy of the values is made.

    A step is copied before it is multiplied: numpy converts and multiplies at once three times as slowly.
    """
    total = values[:, :, :1].astype(np.float64)
    total *= weights[0]
    part = np.empty_like(total)
    for step in range(1, weights.size):
        part[...] = values[:, :, step : step + 1]
        part *= weights[step]
        total += part
    return total


def _total(values: Array) -> Array:
    return np.asarray(np.sum(values, axis=STEP, keepdims=True, dtype=np.float64))


def longest(condition: Array) -> Array:
    """Length of the longest run of true steps; time keeps one place."""
    shape = (*condition.shape[:STEP], 1, *condition.shape[LATITUDE:])
    now = most = np.zeros(shape)
    for step in range(condition.shape[STEP]):
        now = (now + 1) * condition[:, :, step : step + 1]
        most = np.maximum(most, now)
    return most


def _first(condition: Array, length: int) -> Array:
    """Where the first run of ``length`` true steps begins."""
    shape = (*condition.shape[:STEP], 1, *condition.shape[LATITUDE:])
    now, found = np.zeros(shape), np.full(shape, np.inf)
    for step in range(condition.shape[STEP]):
        now = (now + 1) * condition[:, :, step : step + 1]
        found = np.where((now >= length) & np.isinf(found), float(step - length + 1), found)
    return found


def _soon(event: Array, within: int, *, beyond: bool) -> Array:
    """Whether the event holds at some step of the next ``within``; ``beyond`` is what lies past the last step."""
    steps = event.shape[STEP]
    shape = (*event.shape[:STEP], within, *event.shape[LATITUDE:])
    padded = np.concatenate([event, np.full(shape, beyond)], axis=STEP)
    soon = np.zeros(event.shape, dtype=bool)
    for ahead in range(1, within + 1):
        soon |= padded[:, :, ahead : ahead + steps]
    return soon
