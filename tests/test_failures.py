import numpy as np
import pytest

from pipeline.judging.failures import check_coverage, check_drift, check_memorisation, check_spread

SCALES = 1 / np.arange(1, 21)


def fields(count, *, seed):
    """A climate with known principal components."""
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    return (np.random.default_rng(seed).normal(size=(count, 20)) * SCALES) @ mixing


TRAINED, HELD_OUT, GOOD = fields(300, seed=1), fields(120, seed=2), fields(400, seed=3)


def test_a_good_model_raises_nothing():
    rollout = np.random.default_rng(4).normal(size=(60, 20, 20))
    findings = [
        check_spread(GOOD, HELD_OUT),
        check_coverage(GOOD, HELD_OUT),
        check_memorisation(GOOD, TRAINED, HELD_OUT),
        check_drift(rollout),
    ]
    assert [finding.name for finding in findings if finding.raised] == []
    assert findings[0].value == pytest.approx(1, abs=0.2)


def test_collapsed_spread_is_named():
    finding = check_spread(0.5 * GOOD, HELD_OUT)
    assert (finding.name, finding.raised) == ("spread collapse", True)
    assert finding.value == pytest.approx(0.25, abs=0.05)
    assert "of the variance of held-out" in finding.meaning


def test_a_lost_pattern_is_named():
    pattern = np.linalg.svd(HELD_OUT - HELD_OUT.mean(0))[2][2]
    lost = GOOD - np.outer(GOOD @ pattern, pattern)
    assert not check_spread(lost, HELD_OUT).raised
    finding = check_coverage(lost, HELD_OUT)
    assert (finding.name, finding.raised) == ("mode collapse", True)
    assert finding.meaning.startswith("component 3 of 10")


def test_copies_of_training_fields_are_named():
    rng = np.random.default_rng(5)
    copies = TRAINED[rng.integers(300, size=200)] + 0.02 * rng.normal(size=(200, 20))
    finding = check_memorisation(copies, TRAINED, HELD_OUT)
    assert (finding.name, finding.raised) == ("memorisation", True)
    assert not check_spread(copies, HELD_OUT).raised


def test_drifts_are_named():
    steady = np.random.default_rng(6).normal(size=(60, 20, 30))
    ramp = np.linspace(0, 3, 60)[:, None, None]
    side = np.where(np.arange(30) < 15, -1, 1)
    for rollout in (steady + ramp, steady + ramp * side, steady * (1 + ramp)):
        assert check_drift(rollout).raised
    steady[50, 0, 0] = np.inf
    assert check_drift(steady).value == np.inf


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="19 and 20 elements"):
        check_spread(GOOD[:, :19], HELD_OUT)
    with pytest.raises(ValueError, match="missing or infinite"):
        check_coverage(np.where(GOOD > 0, GOOD, np.nan), HELD_OUT)
    with pytest.raises(ValueError, match="at least two, as"):
        check_memorisation(GOOD[:1], TRAINED, HELD_OUT)
    with pytest.raises(ValueError, match=r"shape \(60, 20\)"):
        check_drift(np.zeros((60, 20)))


def test_components_fitted_to_few_fields_raise_no_false_alarm():
    """In-sample components of 40 fields with 35 equal directions hold three times their share of the variance."""
    rng = np.random.default_rng(7)
    for _ in range(20):
        assert not check_coverage(rng.normal(size=(300, 35)), rng.normal(size=(40, 35))).raised
    with pytest.raises(ValueError, match="at least 6"):
        check_coverage(GOOD, HELD_OUT[:4])
