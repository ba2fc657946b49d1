"""The part of the record that a fit may see, laid end to end, and its division into folds of years.

The statistical families work on *flat* fields: the cells of all channels in one axis, masked cells zero. They choose
by cross-validation and need no years for early stopping: validation steps are training steps to them. Steps outside
both masks are dropped here, once, so that no family can look at them. An *anchor* is the position of a step from which
a window reaches back and forward without crossing a break of the record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.base import Grid, Series, TrainingData

MIN_STEPS = 12
"""Fewer training steps than this support no fit at all."""

MIN_YEARS = 3
"""Fewer years than this cannot be divided into folds of years that leave two to learn from."""


@dataclass(frozen=True)
class Record:
    """The training and validation steps of all series, one after the other.

    Attributes:
        values: Standardised anomalies, ``(time, cells)``, float64, zero where masked.
        calendar: Sine and cosine of the season's phase, ``(time, 2)``.
        forcing: Standardised covariates, ``(time, forcings)``.
        time: Index of each step within its own series, ``(time,)``.
        run: Number of the unbroken run each step belongs to, ``(time,)``.
        weights: Area weights, ``(cells,)``, zero where masked.
        channels: How many channels the cells hold, one after the other.
        steps_per_year: Steps in a year; one where a step is a year or longer.
    """

    values: Tensor
    calendar: Tensor
    forcing: Tensor
    time: Tensor
    run: Tensor
    weights: Tensor
    channels: int
    steps_per_year: float

    def anchors(self, *, before: int, after: int) -> Tensor:
        """Positions whose windows ``[position - before, position + after]`` lie within one unbroken run."""
        positions = torch.arange(before, max(before, len(self.run) - after))
        return positions[self.run[positions - before] == self.run[positions + after]]

    def block(self, steps: int | None = None, *, before: int = 0) -> int:
        """Steps of a block to resample: by default a year of them, or ten where a step is a year.

        Longer than what the weather or El Niño remembers, and no more than half of the longest unbroken run.

        Args:
            steps: The length asked for, if any.
            before: Steps that are wanted before the block, in the same run.

        Raises:
            ValueError: No run is long enough.
        """
        longest = int(torch.bincount(self.run).max()) - before
        if steps is None and longest > 0:
            wanted = round(self.steps_per_year) if self.steps_per_year > 1.5 else 10
            return max(1, min(wanted, longest // 2))
        if steps is None or steps > longest:
            raise ValueError(
                f"no unbroken training run holds a block of {steps or 1} steps: the longest leaves room for {longest}"
            )
        return steps

    @property
    def years(self) -> float:
        """Length of the training record of all series together, in years."""
        return len(self.time) / self.steps_per_year


@dataclass(frozen=True)
class Fold:
    """One division of the anchors: windows to fit on, and windows of years that the fit has not seen."""

    fit: Tensor
    held: Tensor


def training_record(data: TrainingData) -> Record:
    """The steps that a fit may see, checked.

    Args:
        data: Series with their training masks, and the grid.

    Raises:
        ValueError: No series, values that are not finite where the grid has data, a channel that is constant or
            wholly masked, or too few steps or years.
    """
    if not data.series:
        raise ValueError("the training data hold no series; give at least one")
    mask = data.grid.mask
    values = torch.cat([_flat_training_values(series, data.grid, number) for number, series in enumerate(data.series)])
    record = Record(
        values=values,
        calendar=torch.cat([series.calendar[_seen(series)] for series in data.series]).double(),
        forcing=torch.cat([series.forcing[_seen(series)] for series in data.series]).double(),
        time=torch.cat([_seen(series).nonzero().flatten() for series in data.series]),
        run=_runs(data.series),
        weights=flat_weights(data.grid),
        channels=mask.shape[0],
        steps_per_year=steps_per_year(data.series[0].calendar),
    )
    _check_length(record)
    _check_channels(record)
    return record


def year_folds(record: Record, *, before: int, after: int, count: int, gap: int | None = None) -> list[Fold]:
    """Divide the windows of a record into folds of consecutive years, kept apart by a gap.

    A fold holds the same steps out of every series: realizations share their forcing, and scenarios their past. Windows
    that touch the gap on either side of a fold are in neither half, so no fit has seen a held window's target.

    Args:
        record: The training record.
        before: Steps a window reaches back from its anchor.
        after: Steps it reaches forward.
        count: How many folds; fewer where the record has fewer years.
        gap: Steps to leave out on either side of a fold; by default the window's reach, and a quarter of a year.

    Raises:
        ValueError: Runs too short for one window, or a fold that leaves nothing to fit on.
    """
    anchors = record.anchors(before=before, after=after)
    if gap is None:
        gap = max(after, math.ceil(record.steps_per_year / 4))
    first, last = torch.stack([anchors - before, anchors + after])
    folds = []
    for start, stop in _fold_bounds(record, count):
        held = (record.time[anchors] >= start) & (record.time[anchors] < stop)
        fit = (record.time[last] < start - gap) | (record.time[first] >= stop + gap)
        if held.any():
            folds.append(Fold(fit=anchors[fit], held=anchors[held]))
    if len(folds) < 2 or min(len(fold.fit) for fold in folds) < MIN_STEPS:
        raise ValueError(
            f"too few unbroken training windows of {before + after + 1} steps for {count} folds of years: found "
            f"{len(anchors)} in {record.years:.1f} years; give more training years, shorter windows or fewer folds"
        )
    return folds


def steps_per_year(calendar: Tensor) -> float:
    """Steps in a year, told from the phase of the season, ``(time, 2)``; one where the calendar is zero."""
    if not calendar.any() or len(calendar) < 2:
        return 1.0
    phase = torch.atan2(calendar[:, 0], calendar[:, 1]).double()
    advance = torch.remainder(phase.diff(), 2 * math.pi).median()
    return 2 * math.pi / float(advance)


def lagged(anchors: Tensor, lags: int) -> Tensor:
    """Positions of the newest states at each anchor, oldest first, ``(anchors, lags)``."""
    return anchors[:, None] + torch.arange(1 - lags, 1)


def flat_weights(grid: Grid) -> Tensor:
    """Area weights of the flat cells, zero where masked, float64."""
    return (grid.weights.double().expand(grid.mask.shape) * grid.mask).flatten()


def check_grid(values: Tensor, shape: Sequence[int]) -> None:
    """Refuse fields ``(time, channels, latitude, longitude)`` on another grid than the model's.

    Raises:
        ValueError: They are.
    """
    if values.shape[1:] != shape:
        raise ValueError(
            f"fields have (channels, latitude, longitude) = {tuple(values.shape[1:])}, but the model's grid has "
            f"{tuple(shape)}; a model forecasts only on the grid it was fitted on"
        )


def flat_fields(values: Tensor, grid: Grid) -> Tensor:
    """Flatten ``(time, channels, latitude, longitude)`` to float64 ``(time, cells)`` with zeros where masked.

    Raises:
        ValueError: A shape other than the grid's, or values that are not finite where the grid has data.
    """
    check_grid(values, grid.mask.shape)
    fields = grid.masked(values.double()).flatten(1)
    if not torch.isfinite(fields).all():
        raise ValueError(f"{int((~torch.isfinite(fields)).sum())} values are not finite where the mask says data")
    return fields


def _seen(series: Series) -> Tensor:
    return series.train | series.validate


def _flat_training_values(series: Series, grid: Grid, number: int) -> Tensor:
    values = grid.masked(series.values[_seen(series)].double()).flatten(1)
    bad = ~torch.isfinite(values).all(dim=1)
    if bad.any():
        step = int(_seen(series).nonzero().flatten()[bad][0])
        raise ValueError(
            f"series {number} has values that are not finite at {int(bad.sum())} training steps, first at step {step}; "
            "fill or mask them, or take those steps out of training"
        )
    return values


def _runs(series: tuple[Series, ...]) -> Tensor:
    breaks = []
    for one in series:
        time = _seen(one).nonzero().flatten()
        breaks.append(torch.diff(time, prepend=time[:1] - 2) != 1)
    return torch.cat(breaks).long().cumsum(0)


def _fold_bounds(record: Record, count: int) -> list[tuple[int, int]]:
    first, stop = int(record.time.min()), int(record.time.max()) + 1
    years = max(1, round((stop - first) / record.steps_per_year))
    edges = torch.linspace(0, years, min(count, years) + 1).round() * record.steps_per_year
    bounds = [first + round(float(edge)) for edge in edges[:-1]] + [stop]
    return list(pairwise(bounds))


def _check_length(record: Record) -> None:
    if len(record.time) < MIN_STEPS or record.years < MIN_YEARS - 0.1:
        raise ValueError(
            f"the training mask holds {len(record.time)} steps ({record.years:.1f} years); a fit needs at least "
            f"{MIN_STEPS} steps and {MIN_YEARS} years"
        )


def _check_channels(record: Record) -> None:
    spread = record.values.std(dim=0).reshape(record.channels, -1).amax(dim=1)
    data = record.weights.reshape(record.channels, -1).gt(0).any(dim=1)
    for channel in range(record.channels):
        if not data[channel]:
            raise ValueError(f"channel {channel} is masked everywhere; leave it out")
        if spread[channel] < 1e-10:
            raise ValueError(f"channel {channel} is constant over the training years; leave it out")
