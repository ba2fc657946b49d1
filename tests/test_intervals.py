"""Intervals: published numbers, other implementations, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from pipeline.answers.intervals import (
    Estimate,
    difference_bounds,
    difference_interval,
    effective_trials,
    paired_correlation,
    proportion_bounds,
    proportion_interval,
    quantile_interval,
    ratio_interval,
)


@pytest.mark.parametrize(
    ("events", "members", "low", "high"),
    [(3, 10, 12, 56), (6, 20, 16, 48), (15, 50, 20, 41), (30, 100, 23, 38), (60, 200, 25, 36)],
)
def test_jeffreys(events, members, low, high):
    found = proportion_interval(events / members, members)
    assert (round(100 * found.low), round(100 * found.high)) == (low, high)
    expected = stats.beta(events + 0.5, members - events + 0.5).ppf([0.05, 0.95])
    np.testing.assert_allclose(found[1:], expected)


@pytest.mark.parametrize(("members", "bound"), [(10, 26), (20, 14), (50, 5.8), (100, 3.0), (1000, 0.3)])
def test_never_seen_is_not_zero(members, bound):
    never, always = proportion_interval(0.0, members), proportion_interval(1.0, members)
    assert 100 * never.high == pytest.approx(bound, rel=0.03)
    assert (1 - never.high) ** members == pytest.approx(0.05)  # the exact binomial bound
    assert (always.low, always.high) == (pytest.approx(1 - never.high), 1.0)


def test_jeffreys_covers_as_it_says():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, 4000)
    seen = rng.binomial(50, truth)
    low, high = proportion_bounds(seen / 50, np.full(4000, 50), level=0.9)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.9, abs=0.02)


def test_many_at_once_are_the_same_as_one_by_one():
    shares, trials = np.array([[0.0, 0.3], [1.0, 0.5]]), np.array([[10, 10], [20, 4]])
    low, high = proportion_bounds(shares, trials, level=0.8)
    for place in np.ndindex(2, 2):
        one = proportion_interval(float(shares[place]), int(trials[place]), level=0.8)
        assert (low[place], high[place]) == (pytest.approx(one.low), pytest.approx(one.high))
    assert np.isnan(proportion_bounds(np.array([np.nan]), np.array([0]))[0]).all()
    pooled = [10.0, 10.5, 10.6]  # trials need not be whole
    assert np.array(proportion_bounds(np.full(3, 0.4), np.array(pooled))).T == pytest.approx(
        np.array([proportion_interval(0.4, trials)[1:] for trials in pooled])
    )


def test_pairs_at_many_places_are_the_same_as_one_by_one():
    rng = np.random.default_rng(6)
    known = rng.random((2, 30, 4, 5, 3)) < 0.8
    event = rng.random((2, 30, 1, 5, 3)) < rng.random((4, 5, 3))
    known[:, :, :, 0, 0] = event[:, :, :, 0, 1] = False  # a place where nothing is known, and one without the event
    event, known = np.broadcast_to(event, known.shape) & known, known
    with np.errstate(invalid="ignore"):
        shares, whole = event.sum(axis=2) / known.sum(axis=2), event.sum(axis=(1, 2)) / known.sum(axis=(1, 2))
    trials = [effective_trials(*side) for side in zip(event, known, strict=True)]
    correlation = paired_correlation(*shares)
    sides = [(share, *proportion_bounds(share, n)) for share, n in zip(whole, trials, strict=True)]
    low, high = difference_bounds(*sides, correlation=correlation)
    for place in np.ndindex(5, 3):
        one = [effective_trials(event[side][:, :, *place], known[side][:, :, *place]) for side in (0, 1)]
        assert one == pytest.approx([trials[0][place], trials[1][place]])
        assert paired_correlation(*shares[:, :, *place]) == pytest.approx(correlation[place])
        if place == (0, 0):
            assert np.isnan([low[place], high[place]]).all()
            continue
        chances = (Estimate(*(float(part[place]) for part in side)) for side in sides)
        assert (low[place], high[place]) == pytest.approx(
            difference_interval(*chances, correlation=float(correlation[place]))
        )


def test_no_trials_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        proportion_interval(0.5, 0)


def test_newcombe_published():
    """Newcombe (1998), Stat. Med. 17, 873, method 10 on 56 of 70 and 48 of 80: 0.0524 to 0.3339."""

    def wilson(events, trials):
        ends = stats.binomtest(events, trials).proportion_ci(0.95, method="wilson")
        return Estimate(events / trials, ends.low, ends.high)

    found = difference_interval(wilson(56, 70), wilson(48, 80))
    assert found == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


@pytest.mark.parametrize(("p", "q", "members"), [(0.6, 0.3, 50), (0.9, 0.5, 50), (0.2, 0.15, 100), (0.97, 0.6, 50)])
def test_differences_and_ratios_cover_as_they_say(p, q, members):
    rng = np.random.default_rng(1)
    inside = np.zeros((2, 2000), dtype=bool)
    for trial in range(2000):
        noise = rng.random(members)  # members share their noise, so the two are paired
        own = 0.5 * (noise < p) + 0.5 * (noise < q), (rng.random(members) < 0.5)
        one, two = (noise < p).astype(float), np.where(own[1], noise < q, rng.random(members) < q).astype(float)
        first, second = (proportion_interval(float(x.mean()), members) for x in (one, two))
        correlation = paired_correlation(one, two)
        low, high = difference_interval(first, second, correlation=correlation)
        inside[0, trial] = low <= p - q <= high
        low, high = ratio_interval(first, second, correlation=correlation)
        inside[1, trial] = low <= p / q and (high is None or p / q <= high)
    assert inside.mean(axis=1) == pytest.approx(0.9, abs=0.035)


@pytest.mark.parametrize(("p", "q"), [(0.55, 0.5), (0.3, 0.25)])
@pytest.mark.parametrize("years", [1, 10])
def test_differences_of_nearly_the_same_few_members_cover_too(p, q, years):
    """Twenty members whose noise two scenarios share but for two parts in a hundred: often all of them agree."""
    rng = np.random.default_rng(2)
    inside = np.zeros(500, dtype=bool)
    for trial in range(inside.size):
        noise, other = (np.sqrt(0.5) * (rng.normal(size=(20, 1)) + rng.normal(size=(20, years))) for _ in range(2))
        events = noise < stats.norm.ppf(p), 0.98 * noise + np.sqrt(1 - 0.98**2) * other < stats.norm.ppf(q)
        trials = [float(effective_trials(event, np.full(event.shape, True))) for event in events]
        first, second = (proportion_interval(float(e.mean()), n) for e, n in zip(events, trials, strict=True))
        correlation = float(paired_correlation(*(event.mean(axis=1) for event in events)))
        low, high = difference_interval(first, second, correlation=correlation)
        inside[trial] = low <= p - q <= high
    assert inside.mean() > 0.87


def test_pairing_narrows_the_difference():
    first, second = proportion_interval(0.6, 50), proportion_interval(0.4, 50)
    alone, paired = (difference_interval(first, second, correlation=r) for r in (0.0, 0.7))
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)


def test_a_ratio_to_something_never_seen_has_only_a_lower_end():
    never = proportion_interval(0.0, 50)
    found = ratio_interval(proportion_interval(0.4, 50), never)
    assert found.high is None
    assert 0.2 / never.high < found.low < 0.4 / never.high


def test_a_ratio_of_something_never_seen_begins_at_zero():
    assert ratio_interval(proportion_interval(0.0, 50), proportion_interval(0.4, 50)).low == 0


def test_quantile_interval_covers_at_least_as_it_says():
    rng = np.random.default_rng(2)
    truth, inside = stats.norm.ppf(0.7), 0
    for _ in range(1500):
        low, high = quantile_interval(rng.normal(size=60), 0.7)
        inside += low <= truth <= high
    assert 0.89 <= inside / 1500 <= 0.96


def test_the_interval_of_a_quantile_of_pooled_years_holds_it_and_covers():
    """Twenty members of twenty years, half of whose variance a member's years share."""
    rng = np.random.default_rng(4)
    truth, inside = stats.norm.ppf(0.97, scale=np.sqrt(2)), 0
    for _ in range(400):
        values = rng.normal(size=(20, 1)) + rng.normal(size=(20, 20))
        found = np.quantile(values, 0.97, method="weibull")
        trials = int(effective_trials(values > found, np.full(values.shape, True)))
        low, high = quantile_interval(values.ravel(), 0.97, trials=trials)
        high = np.inf if high is None else high
        assert (low or -np.inf) <= found <= high
        inside += (low or -np.inf) <= truth <= high
    assert 0.86 <= inside / 400


def test_fewer_trials_widen_the_interval_of_a_quantile():
    values = np.random.default_rng(5).normal(size=400)
    all_of_them, few = quantile_interval(values, 0.5), quantile_interval(values, 0.5, trials=40)
    assert quantile_interval(values, 0.5, trials=400) == all_of_them
    assert all(np.isclose(values, end, atol=1e-12).any() for end in all_of_them)
    assert few.low < all_of_them.low < all_of_them.high < few.high


def test_an_extreme_quantile_of_few_values_is_unbounded():
    assert quantile_interval(np.arange(10.0), 0.95).high is None


def test_effective_trials_lie_between_members_and_samples():
    rng = np.random.default_rng(3)
    known = np.ones((50, 10), dtype=bool)
    independent = rng.random((50, 10)) < 0.4
    assert effective_trials(independent, known) == pytest.approx(500, rel=0.35)
    same = np.repeat(rng.random((50, 1)) < 0.4, 10, axis=1)
    assert effective_trials(same, known) == pytest.approx(50, rel=0.05)
    assert effective_trials(np.zeros((50, 10), dtype=bool), known) == 50
    assert effective_trials(independent[:, :1], known[:, :1]) == 50
    assert effective_trials(independent, np.zeros((50, 10), dtype=bool)) == 0


def test_correlation_of_constant_shares_is_none():
    assert paired_correlation(np.ones(10), np.arange(10.0)) == 0
    assert paired_correlation(np.arange(50) / 50, np.arange(50) / 50) == pytest.approx(1, abs=0.02)
