"""How sure a score, or a difference of scores, is: block bootstrap and Diebold–Mariano test on a series of cases.

Cases (initial times, or valid years of one projection) follow each other in time and are not independent: a bootstrap
draws blocks of consecutive cases, the same ones for both sides of a comparison.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import TercileError

Floats = NDArray[np.float64]
FEWEST_CASES = 10  # an interval from fewer cases would claim to know their scatter


def lag_one_correlation(series: Floats) -> float:
    """Correlation of a series with itself one step later, 0 for a constant one."""
    centred = np.asarray(series, float) - np.mean(series)
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0


def block_length(series: Floats) -> int:
    """Length of bootstrap blocks that suits the memory of a series, at least 1 and at most a third of it.

    Source:
        Carlstein (1986), doi:10.1214/aos/1176350057: the optimum for a first-order autoregression.
    """
    correlation = min(max(lag_one_correlation(series), 0.0), 0.97)
    optimum = (2 * correlation / (1 - correlation**2)) ** (2 / 3) * len(series) ** (1 / 3)
    return int(np.clip(np.ceil(optimum), 1, max(len(series) // 3, 1)))


def block_bootstrap(cases: int, *, length: int, draws: int = 1000, seed: int = 0) -> Floats:
    """How often each case enters each resample: counts that turn sums over cases into resampled sums.

    Blocks are runs of consecutive cases and go round the end, so every case is equally likely.

    Args:
        cases: Number of cases in the series.
        length: Consecutive cases in a block.
        draws: Number of resamples.
        seed: Of the draws; equal seeds give equal counts.

    Returns:
        Shape ``(draws, cases)``; each row adds up to ``cases``.

    Raises:
        TercileError: No case, or a block longer than the series.

    Source:
        Politis and Romano (1992), circular blocks; Künsch (1989), doi:10.1214/aos/1176347265, moving blocks.
    """
    if not 1 <= length <= cases:
        raise TercileError(f"length: a block of {length} does not fit into a series of {cases} cases.")
    starts = np.random.default_rng(seed).integers(cases, size=(draws, -(-cases // length)))
    picked = (starts[..., None] + np.arange(length)) % cases
    flat = picked.reshape(draws, -1)[:, :cases] + cases * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * cases).reshape(draws, cases).astype(float)


def bootstrap_interval(
    statistic: Callable[[Floats], Floats], sums: Floats, *, counts: Floats, confidence: float = 0.9
) -> tuple[float, float]:
    """Percentile interval of a function of sums over cases.

    Args:
        statistic: From sums ``(..., column)`` to values ``(...)``.
        sums: One row for each case, ``(case, column)``; the columns of both sides of a comparison in one table.
        counts: From ``block_bootstrap``.
        confidence: Probability inside the interval.

    Returns:
        Lower and upper end; NaN where the statistic is not defined in a resample.
    """
    values = statistic(counts @ sums)
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def diebold_mariano(difference: Floats) -> float:
    """Two-sided p-value of no mean difference between two scores over a series of cases, autocorrelation allowed for.

    NaN where it cannot be told: fewer than ten cases, or differences that are all zero.

    Args:
        difference: Score of one forecast minus that of the other, in the order of time, ``(case,)``.

    Source:
        Diebold and Mariano (1995), doi:10.1080/07350015.1995.10524599; Hering and Genton (2011),
        doi:10.1198/TECH.2011.10136, for the autocovariance; Student's t as in Harvey et al. (1997).
    """
    from scores.stats.statistical_tests import diebold_mariano as _diebold_mariano  # takes a second to load

    difference = np.asarray(difference, float)
    if difference.size < FEWEST_CASES or not np.any(difference):
        return float("nan")
    unit = difference / np.abs(difference).max()  # the fit of the autocovariance is not free of scale
    series = xr.DataArray(unit[None], dims=("series", "case"), coords={"series": [0], "step": ("series", [1])})
    result = _diebold_mariano(series, "series", "step", method="HG", statistic_distribution="t")
    return float(2 * min(result["confidence_gt_0"].item(), 1 - result["confidence_gt_0"].item()))
