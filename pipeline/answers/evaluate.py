"""A question's expression, evaluated inside each member before members are counted.

The tree is walked from the outside in, so that by the time a variable is read it is known which cells and steps
matter; on the way back each node works on all members at once. Anomalies and relative thresholds ask
:class:`~pipeline.answers.climate.Climate`, which evaluates the same expression on the reference record, or
:class:`~pipeline.answers.model_climate.ModelClimate`, which does so on the hindcasts.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.answers.bounds import (
    Bounds,
    both,
    compare,
    either,
    first_run,
    followed,
    from_data,
    minus,
    negate,
    over_cells,
    over_steps,
    rolling,
)
from pipeline.answers.climate import Statistic, Usual
from pipeline.answers.extent import rolled_steps, steps_of
from pipeline.answers.quantities import in_data_units, is_rate, measure
from pipeline.answers.trajectories import Need, Trajectories
from pipeline.answers.windows import resolve, steps_before
from pipeline.events.errors import QuestionError
from pipeline.events.kinds import kind_of
from pipeline.events.tree import (
    Absolute,
    Anomaly,
    Combination,
    Comparison,
    Day,
    Expression,
    First,
    Negation,
    Percentile,
    Reduction,
    Region,
    Rolling,
    Sigma,
    Then,
    Threshold,
    Variable,
    Window,
)
from pipeline.places.regions import WHOLE, Cells

Array = NDArray[Any]

MEAN = Statistic("mean")
LEAST_VALID_SHARE = 0.5


def evaluate(node: Expression, need: Need, at: Trajectories, usual: Usual) -> Bounds:
    """The value of an expression in every member.

    Args:
        node: The expression.
        need: Cells and steps that whatever stands around it looks at.
        at: The trajectories to evaluate it on.
        usual: What they are compared with.

    Returns:
        Bounds with axes ``(scenario, member, step, latitude, longitude)``; a closed axis has length one, and an
        ``each`` window leaves one step for each year.

    Raises:
        QuestionError: A name, region, window, unit or reference that cannot be met.
    """
    match node:
        case Variable():
            return from_data(at.variable(node.name, need))
        case Anomaly():
            normal = usual.statistic(node.source, need, at.timeline, MEAN, reference=node.clim)
            return minus(evaluate(node.source, need, at, usual), normal)
        case Rolling():
            return _rolled(node, need, at, usual)
        case Reduction():
            axis = node.axis
            if isinstance(axis, Region):
                return at.once(node, need, lambda: _over_region(node, axis, need, at, usual))
            return _over_window(node, axis, need, at, usual)
        case First():
            start, stop = resolve(node.window, at.timeline).span
            condition = evaluate(node.source, Need(need.cells, start, stop), at, usual)
            return first_run(condition, node.run).apply(lambda steps: steps + start)
        case Then():
            return _followed(node, need, at, usual)
        case Comparison():
            values = evaluate(node.source, need, at, usual)
            limits = [threshold_values(node, threshold, need, at, usual) for threshold in node.thresholds]
            return compare(values, node.operator, limits)
        case Combination():
            join = both if node.word == "and" else either
            return reduce(join, (evaluate(part, need, at, usual) for part in node.parts))
        case Negation():
            return negate(evaluate(node.source, need, at, usual))


def threshold_values(node: Comparison, threshold: Threshold, need: Need, at: Trajectories, usual: Usual) -> Array:
    """A threshold as numbers in the unit of the data, shaped to broadcast against the left side's values."""
    match threshold:
        case Absolute() if kind_of(node.source).quantity == "date":
            return threshold_values(node, Day(f"{threshold.value:04.0f}"), need, at, usual)
        case Absolute():
            quantity = measure(node.source, at.catalogue, at.timeline)
            return np.full((1, 1, 1, 1, 1), in_data_units(threshold, quantity))
        case Day():
            ended = node.operator in ("above", "at_most")
            return np.full((1, 1, 1, 1, 1), float(steps_before(threshold.text, at.timeline, ended=ended) - ended))
        case _:
            statistic = statistic_of(node, threshold)
            return usual.statistic(node.source, need, at.timeline, statistic)


def statistic_of(node: Comparison, threshold: Threshold) -> Statistic:
    """The statistic of the reference that a relative threshold means."""
    match threshold:
        case Percentile():
            return Statistic("percentile", threshold.rank)
        case Sigma():
            return Statistic("sigma", threshold.factor)
        case _:
            return Statistic("highest" if node.operator in ("above", "at_least") else "lowest")


def _rolled(node: Rolling, need: Need, at: Trajectories, usual: Usual) -> Bounds:
    """A trailing window, read far enough back for its first step."""
    length = rolled_steps(node, at.timeline)
    start = max(0, need.start - length + 1)
    values = evaluate(node.source, Need(need.cells, start, need.stop), at, usual)
    seconds = at.timeline.seconds[start : need.stop]
    rolled = rolling(values, node.verb, length, seconds, is_rate=_becomes_amount(node, at))
    return rolled.steps(need.start - start, need.stop - start)


def closed_over(node: Reduction, region: Region, at: Trajectories) -> Cells:
    """The cells that space is closed over.

    Raises:
        QuestionError: ``region_outside``, also for a sum of which a part lies off the grid.
    """
    cells = at.cells(region)
    if node.verb == "sum" and cells.covered < WHOLE:
        raise QuestionError(
            "region_outside",
            f"{cells.outside} of {cells.title} is outside the grid: the sum over a part is none over the region. Ask "
            "for .mean(over=…), or for a region on the grid.",
            where=cells.title,
        )
    return cells


def _over_region(node: Reduction, region: Region, need: Need, at: Trajectories, usual: Usual) -> Bounds:
    """Space closed over a region's cells."""
    cells = closed_over(node, region, at)
    values = evaluate(node.source, Need(cells, need.start, need.stop), at, usual)
    reduced, valid = over_cells(values, node.verb, cells.weights)
    at.valid_shares[region] = min(valid, at.valid_shares.get(region, 1.0))
    if valid < LEAST_VALID_SHARE:
        name = measure(node.source, at.catalogue, at.timeline).name
        raise QuestionError(
            "mostly_masked",
            f"Only {100 * valid:.0f} % of {cells.title} has data ({name} has none in the rest); a region needs "
            f"{100 * LEAST_VALID_SHARE:.0f} %.",
            where=cells.title,
        )
    return reduced


def _over_window(node: Reduction, window: Window, need: Need, at: Trajectories, usual: Usual) -> Bounds:
    """Time closed over a window's steps."""
    groups = at.groups(window)
    start, stop = groups[0][0], groups[-1][1]
    values = evaluate(node.source, Need(need.cells, start, stop), at, usual)
    own = [(first - start, last - start) for first, last in groups]
    return over_steps(values, node.verb, own, at.timeline.seconds[start:stop], is_rate=_becomes_amount(node, at))


def _becomes_amount(node: Reduction | Rolling, at: Trajectories) -> bool:
    """Whether a rate is added up over time."""
    return node.verb == "sum" and is_rate(measure(node.source, at.catalogue, at.timeline).units)


def _followed(node: Then, need: Need, at: Trajectories, usual: Usual) -> Bounds:
    """A condition, then another; what lies past the last step is unknown."""
    within = steps_of(node.within, at.timeline)
    wide = Need(need.cells, need.start, min(at.timeline.size, need.stop + within))
    first = evaluate(node.source, wide, at, usual)
    return followed(first, evaluate(node.event, wide, at, usual), within).steps(0, need.stop - need.start)
