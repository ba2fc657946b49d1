"""Return levels: read off the members while they carry them, extrapolated by a fitted tail beyond."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

CASES = 5  # how many exceedances a counted level needs
FURTHEST = 4  # how many times the number of samples a return period may be
FEWEST = 20  # samples, for any level
RESAMPLES = 500
FITS = 60
GUMBEL = (0.0, -np.euler_gamma * np.sqrt(6) / np.pi, np.sqrt(6) / np.pi)
"""Shape, place and scale of the Gumbel law with mean 0 and variance 1: where the search for a tail begins."""


MOST_TIED = 0.1
"""Share of the samples with one and the same value above which no tail can be fitted, as to months that are counted."""


class Level(NamedTuple):
    """A return level with its interval.

    Attributes:
        value: The level, in the unit of the values.
        low: Lower end.
        high: Upper end.
        extrapolated: Whether it lies beyond what the members resolve.
        method: How it was found.
        fit: Kolmogorov-Smirnov p-value of the fitted tail, or None.
    """

    value: float
    low: float
    high: float
    extrapolated: bool
    method: str
    fit: float | None


def most_tied(values: Array) -> tuple[float, int]:
    """The value that most samples have, and how many."""
    found, counts = np.unique(_known(values), return_counts=True)
    most = int(np.argmax(counts))
    return float(found[most]), int(counts[most])


def fewest_samples(years: int) -> int:
    """Samples that a level with this return period needs."""
    return max(FEWEST, -(-years // FURTHEST))


def return_level(values: Array, years: int, *, level: float = 0.9) -> Level | None:
    """The value that one sample in ``years`` exceeds, with an interval by resampling whole members.

    Args:
        values: One value for each member and year, ``(member, year)``; NaN where missing.
        years: The return period.
        level: Coverage.

    Returns:
        The level, or None where the samples cannot carry it, by :func:`fewest_samples`; nor can a tail be fitted to
        them where too many have one value, by :func:`most_tied`.
    """
    samples = int((~np.isnan(values)).sum())
    if samples < fewest_samples(years) or (samples < CASES * years and most_tied(values)[1] > MOST_TIED * samples):
        return None
    rng = np.random.default_rng(0)
    members = values.shape[0]
    if samples >= CASES * years:
        picks = rng.integers(0, members, size=(RESAMPLES, members))
        estimates = np.array([_counted(values[pick], years) for pick in picks])
        return Level(_counted(values, years), *_ends(estimates, level), False, "counted; resampled by member", None)
    middle, spread = float(_known(values).mean()), float(_known(values).std()) or 1.0
    standard = (values - middle) / spread  # the search stops at a step that is small next to one
    shape = _tail(_known(standard), GUMBEL)
    picks = rng.integers(0, members, size=(FITS, members))
    estimates = np.array([_fitted(standard[pick], years, shape) for pick in picks])
    fit = float(stats.kstest(_known(standard), "genextreme", args=shape).pvalue)
    found = np.array([stats.genextreme.isf(1 / years, *shape), *_ends(estimates, level)])
    value, low, high = (middle + spread * found).tolist()
    return Level(value, low, high, True, "GEV by maximum likelihood; resampled by member", fit)


def mean_change(values: Array) -> tuple[float, bool]:
    """The change of the members' mean over the years by a straight line, and whether it stands out of the noise.

    Args:
        values: ``(member, year)``.
    """
    if values.shape[1] < 3:
        return 0.0, False
    mean = np.nanmean(values, axis=0)
    line = stats.linregress(np.arange(mean.size), mean)
    return float(line.slope * (mean.size - 1)), bool(line.pvalue < 0.01)


def _counted(values: Array, years: int) -> float:
    return float(np.quantile(_known(values), 1 - 1 / years, method="weibull"))


def _fitted(values: Array, years: int, start: tuple[float, ...]) -> float:
    return float(stats.genextreme.isf(1 / years, *_tail(_known(values), start)))


def _tail(values: Array, start: tuple[float, ...]) -> tuple[float, ...]:
    """Shape, place and scale of the extreme value law that fits best."""
    shape, place, scale = start
    return tuple(stats.genextreme.fit(values, shape, loc=place, scale=scale))


def _known(values: Array) -> Array:
    return np.asarray(values[~np.isnan(values)], dtype=np.float64)


def _ends(estimates: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(estimates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
