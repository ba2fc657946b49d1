"""Intervals for chances counted from members, for their differences and ratios, and for quantiles.

They cover the sampling of members and, where that is asked for, the fit of their calibration; the error of the model
behind the members is not in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Two ends; an end that is not known is None."""

    low: float | None
    high: float | None


class Estimate(NamedTuple):
    """A chance and the ends of its interval."""

    value: float
    low: float
    high: float


def proportion_interval(share: float, trials: float, *, level: float = 0.9) -> Estimate:
    """Interval of a chance estimated by a share of trials.

    Jeffreys' interval where the event was seen and not always seen; otherwise the exact one-sided bound, so that a
    finite ensemble never says 0 or 100 %.

    Args:
        share: Share of trials with the event, 0 to 1.
        trials: Number of independent trials, which need not be whole.
        level: Coverage.

    Raises:
        ValueError: No trials.

    Source:
        Brown, Cai and DasGupta (2001), doi:10.1214/ss/1009213286.
    """
    if not trials > 0:
        raise ValueError(f"trials: {trials}; at least one is needed for an interval")
    tail = (1 - level) / 2
    if share in (0.0, 1.0):
        bound = tail ** (1 / trials)
        return Estimate(share, 0.0, 1 - bound) if share == 0 else Estimate(share, bound, 1.0)
    events = share * trials
    ends = special.betaincinv(events + 0.5, trials - events + 0.5, [tail, 1 - tail])
    return Estimate(share, min(float(ends[0]), share), max(float(ends[1]), share))


def proportion_bounds(share: Floats, trials: Floats, *, level: float = 0.9) -> tuple[Floats, Floats]:
    """The ends of :func:`proportion_interval` for many shares at once; NaN where there are no trials."""
    tail = (1 - level) / 2
    shares, counts = np.ravel(share), np.ravel(trials)
    _, first, back = np.unique(shares + 1j * counts, return_index=True, return_inverse=True)  # each pair once
    p, n = shares[first], counts[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        low = np.minimum(special.betaincinv(p * n + 0.5, n - p * n + 0.5, tail), p)
        high = np.maximum(special.betaincinv(p * n + 0.5, n - p * n + 0.5, 1 - tail), p)
        bound = tail ** (1 / n)
    low = np.where(p == 0, 0.0, np.where(p == 1, bound, low))
    high = np.where(p == 1, 1.0, np.where(p == 0, 1 - bound, high))
    ends = np.where(n > 0, np.stack([low, high]), np.nan)[:, back]
    return ends[0].reshape(share.shape), ends[1].reshape(share.shape)


def difference_interval(first: Estimate, second: Estimate, *, correlation: float = 0.0) -> Interval:
    """Interval of ``first - second`` from the intervals of both, by squaring and adding.

    Args:
        first: A chance with its interval.
        second: Another, of the same coverage.
        correlation: Between the two, where members are paired.

    Source:
        Newcombe (1998), method 10; Zou and Donner (2008), doi:10.1002/sim.3095.
    """
    low, high = difference_bounds(first, second, correlation=correlation)
    return Interval(float(low), float(high))


def difference_bounds(
    first: tuple[ArrayLike, ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    correlation: ArrayLike,
) -> tuple[Floats, Floats]:
    """The ends of :func:`difference_interval` for many pairs at once; NaN where a chance is not known.

    Args:
        first: Chances and the ends of their intervals, three arrays of one shape.
        second: The others.
        correlation: Between the two, of the same shape.
    """
    (p, p_low, p_high), (q, q_low, q_high) = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    down = _added(p - p_low, q_high - q, correlation)
    up = _added(p_high - p, q - q_low, correlation)
    return np.maximum(-1.0, p - q - down), np.minimum(1.0, p - q + up)


def ratio_interval(first: Estimate, second: Estimate, *, correlation: float = 0.0) -> Interval:
    """Interval of ``first / second`` from the intervals of both; no upper end when ``second`` may be zero.

    Args:
        first: A chance with its interval.
        second: Another, of the same coverage.
        correlation: Between the two, where members are paired.

    Source:
        Donner and Zou (2012), doi:10.1177/0962280210383082, eq. 8, with the roots in a form that stays finite.
    """
    p, q = first.value, second.value
    middle = p * q - correlation * (p - first.low) * (second.high - q)
    product = first.low * (2 * p - first.low)
    scale = second.high * (2 * q - second.high)
    below = middle + np.sqrt(max(0.0, middle**2 - product * scale))
    low = product / below if below > 0 else 0.0
    if second.low <= 0:
        return Interval(float(low), None)
    middle = p * q - correlation * (first.high - p) * (q - second.low)
    product = first.high * (2 * p - first.high)
    scale = second.low * (2 * q - second.low)
    high = (middle + np.sqrt(max(0.0, middle**2 - product * scale))) / scale
    return Interval(float(low), float(high))


def quantile_interval(values: ArrayLike, chance: float, *, trials: int | None = None, level: float = 0.9) -> Interval:
    """Interval of a quantile from order statistics, without any assumption on the distribution.

    An end is None where the sample is too small to bound it.

    Args:
        values: Values, ``(n,)``.
        chance: The chance of not exceeding the quantile, 0 to 1.
        trials: How many independent values they are worth; all of them by default.
        level: Coverage, at least.

    Source:
        David and Nagaraja (2003), Order Statistics, section 7.1; for values that hang together Woodruff (1952),
        doi:10.1080/01621459.1952.10483443.
    """
    known = np.asarray(values, dtype=np.float64)
    count = known.size if trials is None else trials
    tail = (1 - level) / 2
    cumulative = special.bdtr(np.arange(count + 1.0), count, chance)
    below = int(np.searchsorted(cumulative, tail))
    above = int(np.searchsorted(cumulative, 1 - tail)) + 1

    def ranked(rank: int) -> float | None:
        return float(np.quantile(known, rank / (count + 1), method="weibull")) if 1 <= rank <= count else None

    return Interval(ranked(below), ranked(above))


def effective_trials(event: NDArray[np.bool_], known: NDArray[np.bool_]) -> Floats:
    """How many independent trials the samples of several members are worth.

    Years of one member hang together, members do not: the variance between the members' own shares says how much.
    Between the number of members and the number of samples; the former when all samples agree.

    Args:
        event: Whether it came true, ``(member, sample, ...)``.
        known: Whether that is known, same shape.

    Returns:
        Trials at each place; 0 where nothing is known.
    """
    counts = known.sum(axis=1)
    members, total = (counts > 0).sum(axis=0).astype(float), counts.sum(axis=0).astype(float)
    if np.array_equal(members, total):
        return np.asarray(members)
    events = (event & known).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = events.sum(axis=0) / total
        variance = np.sum((events - share * counts) ** 2, axis=0) / total**2 * members / (members - 1)
        trials = np.clip(share * (1 - share) / variance, members, total)
    is_one = (members < 2) | (share == 0) | (share == 1)
    return np.where(is_one, members, np.where(variance == 0, total, trials))


def trials_with_fit(share: Floats, trials: Floats, refitted: Floats) -> Floats:
    """As many fewer trials as make an interval cover the fit of the calibration too.

    The variance of the share over calibrations that were each learnt without one part of the hindcasts, by the
    jackknife, joins that of sampling the members.

    Args:
        share: Share of members with the event at each place.
        trials: Independent trials behind it.
        refitted: The share under each of the other calibrations, ``(fold, ...)``.

    Returns:
        Trials at each place; 0 where there were none.

    Source:
        Kott (2001), delete-a-group jackknife.
    """
    fit = (len(refitted) - 1) * refitted.var(axis=0)
    likely = (share * trials + 0.5) / (trials + 1)
    sampling = likely * (1 - likely)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(trials > 0, sampling / (sampling / trials + fit), 0.0)


def paired_correlation(first: Floats, second: Floats) -> Floats:
    """Correlation of the shares of two counts, as an interval of their difference needs it; 0 where members never vary.

    Half a sample is taken off a positive one: that all of 20 members agree does not say that all futures do. Members
    that only one of them counts have nothing to pair, and make the counts hang together less.

    Args:
        first: Each member's share of samples with the event, ``(member, ...)``, NaN where unknown.
        second: The same members' of the other count.

    Returns:
        The correlation at each place.

    Source:
        Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based on paired
        data, Statistics in Medicine 17, 2635-2650, method 10.
    """
    counted = ~np.isnan(first), ~np.isnan(second)
    both = counted[0] & counted[1]
    pairs = both.sum(axis=0)
    varies = _varies(first, both) & _varies(second, both) & (pairs >= 3)
    one, other = (_deviations(shares, both, pairs) for shares in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        common = pairs / np.sqrt(counted[0].sum(axis=0) * counted[1].sum(axis=0))
        scale = np.sqrt(np.sum(one**2, axis=0) * np.sum(other**2, axis=0))
        found = np.sum(one * other, axis=0) / scale
        half = 0.5 * scale / (_single(first, both, pairs) * _single(second, both, pairs))
    found = np.where(found > 0, np.maximum(0.0, found - half), found)
    return np.where(varies, common * np.clip(found, -1, 1), 0.0)


def _varies(shares: Floats, used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether those members' shares differ at all."""
    return np.asarray(np.where(used, shares, -np.inf).max(axis=0) > np.where(used, shares, np.inf).min(axis=0))


def _mean(shares: Floats, used: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    return np.asarray(np.where(used, shares, 0.0).sum(axis=0) / np.maximum(count, 1))


def _deviations(shares: Floats, used: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    """Those members' shares less their mean, and nothing for the others."""
    return np.where(used, shares - _mean(shares, used, count), 0.0)


def _single(shares: Floats, used: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    """The sum of squared deviations, were each member one sample: what pooled years make smaller."""
    mean = _mean(shares, used, count)
    return count * mean * (1 - mean)


def _added(one: Floats, other: Floats, correlation: ArrayLike) -> Floats:
    """Two distances added as errors of correlated numbers are."""
    return np.sqrt(np.maximum(0.0, one**2 - 2 * np.asarray(correlation) * one * other + other**2))
