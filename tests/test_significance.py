import numpy as np
import pytest

from pipeline.judging.significance import (
    block_bootstrap,
    block_length,
    bootstrap_interval,
    diebold_mariano,
    lag_one_correlation,
)


def autoregression(cases, memory, *, seed, series=1):
    noise = np.random.default_rng(seed).normal(size=(series, cases + 50)) * np.sqrt(1 - memory**2)
    for step in range(1, noise.shape[1]):
        noise[:, step] += memory * noise[:, step - 1]
    return noise[:, 50:]


def test_correlation_by_hand():
    # 1, 2, 3 about 2: -1, 0, 1; products of neighbours 0 + 0, power 2
    assert lag_one_correlation(np.array([1.0, 2.0, 3.0])) == 0.0
    # 1, 1, -1, -1: neighbours 1 - 1 + 1 = 1, power 4
    assert lag_one_correlation(np.array([1.0, 1.0, -1.0, -1.0])) == 0.25
    assert lag_one_correlation(np.full(5, 3.0)) == 0.0


def test_blocks_grow_with_memory():
    lengths = [block_length(autoregression(400, memory, seed=1)[0]) for memory in (0.0, 0.5, 0.9)]
    assert lengths[0] <= 3 < lengths[1] < lengths[2] <= 133
    # (2 * 0.5 / 0.75)^(2/3) * 400^(1/3) = 8.9
    assert 6 <= lengths[1] <= 12
    assert block_length(np.ones(10)) == 1


def test_counts_are_runs_of_neighbours():
    counts = block_bootstrap(12, length=4, draws=500, seed=3)
    assert counts.shape == (500, 12)
    assert (counts.sum(axis=1) == 12).all()
    assert abs(counts.mean(axis=0) - 1).max() < 0.2
    one_block = block_bootstrap(12, length=12, draws=20)
    assert (one_block == 1).all()
    np.testing.assert_array_equal(counts, block_bootstrap(12, length=4, draws=500, seed=3))
    with pytest.raises(ValueError, match="block of 5 does not fit into a series of 4"):
        block_bootstrap(4, length=5)


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.83), (0.6, 0.76)])
def test_interval_of_a_mean_covers_it(memory, least):
    """Nominal 90 %; percentile intervals of dependent series fall somewhat short, and are held to how much."""
    inside = []
    for series in autoregression(100, memory, seed=5, series=300):
        counts = block_bootstrap(100, length=block_length(series), draws=300, seed=1)
        low, high = bootstrap_interval(
            lambda s: s[..., 0] / s[..., 1], np.stack([series, np.ones(100)], 1), counts=counts
        )
        inside.append(low <= 0 <= high)
    assert least < np.mean(inside) < 0.95


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_no_difference_is_seldom_called_one(memory):
    p_values = [diebold_mariano(series) for series in autoregression(120, memory, seed=7, series=200)]
    assert 0.0 < np.mean(np.array(p_values) < 0.1) < 0.2


def test_a_difference_is_seen_in_any_units_and_sign():
    series = autoregression(120, 0.3, seed=9)[0] + 1.0
    p_value = diebold_mariano(series)
    assert p_value < 1e-4
    assert diebold_mariano(-series * 1e-6) == pytest.approx(p_value, rel=1e-3)


def test_what_cannot_be_told_is_nan():
    assert np.isnan(diebold_mariano(np.zeros(40)))
    assert np.isnan(diebold_mariano(np.arange(5.0)))
