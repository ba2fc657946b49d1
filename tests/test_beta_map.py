import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from pipeline.answers.beta_map import FEWEST_CASES, fit_beta_map

MEMBERS = 50


def cases(slope, shift, *, count=4000, seed=0):
    """Shares of ensembles whose event has the odds that the map gives them."""
    rng = np.random.default_rng(seed)
    stated = rng.beta(1.5, 2.5, count)
    share = rng.binomial(MEMBERS, stated) / MEMBERS
    happened = rng.random(count) < expit(slope * logit(np.clip(stated, 1e-3, 1 - 1e-3)) + shift)
    return share, happened.astype(float)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.8), (0.6, -0.5)])
def test_a_planted_fault_is_found(slope, shift):
    found = fit_beta_map(*cases(slope, shift), members=MEMBERS)
    assert found.slope == pytest.approx(slope, abs=0.1)
    assert found.shift == pytest.approx(shift, abs=0.12)


def test_mapped_probabilities_come_true_as_often_as_they_say():
    found = fit_beta_map(*cases(0.5, 0.6), members=MEMBERS)
    share, happened = cases(0.5, 0.6, seed=1)
    mapped = np.array([found(each) for each in share])
    for low in (0.2, 0.4, 0.6):
        inside = (mapped >= low) & (mapped < low + 0.2)
        assert happened[inside].mean() == pytest.approx(mapped[inside].mean(), abs=0.05)
    assert np.mean((mapped - happened) ** 2) < np.mean((share - happened) ** 2) - 0.01


def test_without_resolution_it_says_the_base_rate():
    rng = np.random.default_rng(2)
    found = fit_beta_map(rng.random(2000), (rng.random(2000) < 0.3).astype(float), members=MEMBERS)
    assert found(0.05) == pytest.approx(0.3, abs=0.05)
    assert found(0.95) == pytest.approx(0.3, abs=0.05)


def test_few_cases_or_few_events_carry_no_map():
    share, happened = cases(1, 0, count=FEWEST_CASES - 1)
    assert fit_beta_map(share, happened, members=MEMBERS) is None
    assert fit_beta_map(np.full(500, 0.1), np.arange(500) < 19, members=MEMBERS) is None
    assert fit_beta_map(np.full(500, 0.1), (np.arange(500) < 20).astype(float), members=MEMBERS) is not None


def test_the_interval_holds_the_value_and_widens_with_doubt():
    sure = fit_beta_map(*cases(0.7, 0.2), members=MEMBERS)
    unsure = fit_beta_map(*cases(0.7, 0.2, count=250), members=MEMBERS)
    widths = []
    for found in (sure, unsure):
        low, high = found.interval(0.3, 0.5, level=0.9)
        assert low < found(0.4) < high
        widths.append(high - low)
    assert widths[1] > widths[0]


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_map_rises_and_never_says_never(first, second):
    found = fit_beta_map(*cases(0.8, 0.1, count=300), members=MEMBERS, draws=2)
    low, high = sorted((first, second))
    assert 0 < found(low) <= found(high) < 1
