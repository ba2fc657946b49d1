"""What the rows of every card have in common: the leads they pool, the cases they rest on, and intervals over these.

A case is an initial time or, where fewer than ten were counted, a valid time. A number that cannot be given is None,
and a reason stands beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.judging.significance import FEWEST_CASES, block_bootstrap, block_length, bootstrap_interval
from pipeline.periods import lead_words

Row = dict[str, Any]
Interval = tuple[float | None, float | None, float | None, str | None]  # value, low, high, reason for what is None

_POOLED_LEADS = 20  # valid times pooled to a row where one initial time is all there is


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: number of resamples, their seed, and the probability inside the interval."""

    draws: int = 1000
    seed: int = 0
    confidence: float = 0.9


def lead_rows(data: xr.Dataset | xr.DataArray, lead_blocks: int | None = None) -> list[tuple[slice, Row]]:
    """Which leads a row pools, and how it names them.

    Args:
        data: Has the dims ``init_time`` and ``lead_time``.
        lead_blocks: As for ``scorecard.scorecard``.
    """
    leads = data["lead_time"]
    width = lead_blocks or (_POOLED_LEADS if data.sizes["init_time"] == 1 else 1)
    rows: list[tuple[slice, Row]] = []
    for start in range(0, leads.size, width):
        first, last = int(leads[start]), int(leads[start : start + width][-1])
        name = f"{first}-{last}" if last > first else f"{first}"
        span = {"lead": name, "lead_first": first, "lead_last": last, "lead_units": lead_words(leads)}
        rows.append((slice(start, start + width), span))
    return rows


def places(sums: xr.DataArray, lead_blocks: int | None) -> list[tuple[Row, slice, dict[str, int]]]:
    """What each row of a card is about, its leads, and where it lies along the other dims.

    Args:
        sums: Dims ``(..., init_time, lead_time)``.
        lead_blocks: As for ``scorecard.scorecard``.
    """
    dims = [str(dim) for dim in sums.dims if dim not in ("init_time", "lead_time")]
    found = []
    for block, span in lead_rows(sums, lead_blocks):
        for place in np.ndindex(*(sums.sizes[dim] for dim in dims)):
            at = dict(zip(dims, place, strict=True))
            found.append(({**{dim: sums[dim][n].item() for dim, n in at.items()}, **span}, block, at))
    return found


def paired_skill(
    own: NDArray[np.float64], other: NDArray[np.float64] | None, bootstrap: Bootstrap
) -> tuple[float | None, Interval]:
    """Mean score of one row, and its skill against another's on the cases that both have.

    Args:
        own: Weight and weighted sum of the score, ``(init_time, lead_time, 2)``.
        other: The same of the other; None where it is itself.
        bootstrap: How intervals are drawn.
    """
    weight, total = own.reshape(-1, 2).sum(axis=0)
    mean = number_or_none(total / weight) if weight else None
    if other is None:
        return mean, no_interval("this is the reference itself")
    paired = np.isclose(own[..., :1], other[..., :1])
    both = case_table(np.where(paired, np.concatenate([own, other], axis=-1), 0.0))
    return mean, case_interval(skill_of, both[:, [1, 3]], bootstrap)


def case_table(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row for each counted case in the order of time: initial times where there are ten, else valid times.

    Args:
        sums: Dims ``(init_time, lead_time, column)``; the first column is the weight, 0 where nothing was counted.
    """
    by_start = sums.sum(axis=1)
    few = (by_start[:, 0] > 0).sum() < FEWEST_CASES
    table = sums.reshape(-1, sums.shape[-1]) if few else by_start
    return table[table[:, 0] > 0]


def case_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], table: NDArray[np.float64], bootstrap: Bootstrap
) -> Interval:
    """A function of the summed table with its interval, or the reason why there is none."""
    if not len(table):
        return no_interval("no case was counted")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = number_or_none(statistic(table.sum(axis=0)))
        if value is None:
            return no_interval("a division by zero: an error, a spread or a score of exactly 0")
        if len(table) < FEWEST_CASES:
            return value, None, None, f"{len(table)} cases; an interval needs {FEWEST_CASES}"
        influence = statistic(table.sum(axis=0) - table)  # of each case, by leaving it out
        length = block_length(influence) if np.isfinite(influence).all() else 1
        counts = block_bootstrap(len(table), length=length, draws=bootstrap.draws, seed=bootstrap.seed)
        low, high = bootstrap_interval(statistic, table, counts=counts, confidence=bootstrap.confidence)
    return value, number_or_none(low), number_or_none(high), None


def skill_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 - score / the other's score`` from sums ``(..., 2)`` of both."""
    return np.asarray(1 - sums[..., 0] / sums[..., 1])


def flat(name: str, interval: Interval) -> Row:
    """A value with its interval, as the columns ``name``, ``name_low``, ``name_high`` and ``name_reason``."""
    return dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_reason"), interval, strict=True))


def no_interval(reason: str) -> Interval:
    """Neither a value nor an interval, and why."""
    return None, None, None, reason


def number_or_none(value: float | NDArray[np.float64]) -> float | None:
    """The number as JSON takes it: None where it is not finite."""
    return float(value) if np.isfinite(value) else None
