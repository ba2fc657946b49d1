"""Hindcasts laid on the steps of a forecast, so that a window of dates is the same season of each earlier start.

Starts at the forecast's own place in the calendar come first; where those are fewer than twenty, neighbouring starts
join, which see the same season from a step nearer or farther. Steps that a hindcast does not reach are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.answers.trajectories import Need, Trajectories, cut
from pipeline.answers.windows import Timeline

Array = NDArray[Any]
Ints = NDArray[np.int64]

ENOUGH_STARTS = 20
WIDENINGS = (0.0, 31.0, 92.0)
"""Days that a start may lie from the forecast's own place in the calendar, as long as there are too few."""
LEAST_YEARS = 15
"""Start years below which little can be said of a model's past."""
BATCH_VALUES = 16_000_000  # numbers of one variable that are held at once


def nearby_starts(hindcasts: xr.Dataset, timeline: Timeline) -> tuple[Ints, Ints]:
    """The rows of the starts to use, and how many steps later in the year than the forecast each began.

    Args:
        hindcasts: Dims ``(init_time, lead_time, …)``, of the forecast's cadence; only times are read.
        timeline: Of the forecast.
    """
    step, year = timeline.step_days, timeline.year_length
    first = hindcasts[["valid_time", "valid_time_bnds"]].isel(lead_time=0)
    clocks = Timeline(first["valid_time"], first["valid_time_bnds"], timeline.unit, timeline.step).clock
    apart = (clocks - timeline.clock[0] + year / 2) % year - year / 2
    later = np.zeros(apart.size, dtype=int) if step >= 0.9 * year else np.rint(apart / step).astype(int)
    chosen = np.arange(0)
    for days in WIDENINGS:
        chosen = np.flatnonzero(np.abs(later * step) <= days)
        if chosen.size >= ENOUGH_STARTS:
            break
    return chosen, later[chosen]


def laid_out(like: Trajectories, later: Ints, read: Callable[[str, Need], Array]) -> Trajectories:
    """Hindcasts on the steps of a forecast, ``(1, start x member, step, latitude, longitude)``.

    Args:
        like: The forecast's own members.
        later: How many steps later in the year than the forecast each start began, ``(start,)``.
        read: Reads a variable at the hindcasts' own leads that are needed, as far as there are such,
            ``(start, member, lead, latitude, longitude)``.
    """

    def shifted(name: str, need: Need) -> Array:
        first, last = max(0, need.start - int(later.max())), max(1, need.stop - int(later.min()))
        values = read(name, Need(need.cells, first, last))
        if not later.any() and need.stop - need.start == values.shape[2]:
            laid = values
        else:
            laid = np.full((*values.shape[:2], need.stop - need.start, *values.shape[3:]), np.nan, values.dtype)
            for row, ahead in enumerate(later):
                leads = np.arange(need.start, need.stop) - ahead - first
                inside = (leads >= 0) & (leads < values.shape[2])
                laid[row][:, inside] = values[row][:, leads[inside]]
        return laid.reshape(1, -1, *laid.shape[2:])

    return Trajectories(shifted, like.timeline, like.catalogue, like.latitude, like.longitude, partial=like.partial)


def members_of_starts(array: xr.DataArray, need: Need) -> Array:
    """Members of each start, ``(start, member, lead, latitude, longitude)``."""
    some = cut(array.isel(lead_time=slice(need.start, need.stop)), need.cells)
    return np.asarray(some.transpose("init_time", "member", "lead_time", ...).values)


def in_batches(starts: int, like: Trajectories, need: Need, *, members: int, steps: int) -> list[slice]:
    """As many starts at a time as fit in memory, where each has so many members and steps of the cells needed."""
    cells = like.widest if need.cells is None else need.cells.weights.size
    size = max(1, BATCH_VALUES // max(1, cells * members * steps))
    return [slice(begin, begin + size) for begin in range(0, starts, size)]
