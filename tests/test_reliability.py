import numpy as np
import pytest
import scores.probability
import xarray as xr

from pipeline.judging.reliability import merge_tables, relative_economic_value, reliability, roc, roc_area, tabulate


def cases(values):
    return xr.DataArray(np.asarray(values, float), dims="case")


def reliable_cases(count, *, seed):
    rng = np.random.default_rng(seed)
    probability = cases(np.round(rng.beta(0.8, 2.0, count) * 50) / 50)
    return probability, cases(rng.uniform(size=count) < probability)


@pytest.fixture(scope="module")
def calibrated():
    return reliable_cases(4000, seed=0)


def test_by_hand():
    """Stated 0.2 three times, happening once; 0.6 twice, happening never; 0.9 once, happening.

    Isotonic: 1/3, 0 and 1; the first two break the order and pool to 1/5. Base rate 2/6, uncertainty 2/9.
    Brier: (0.64 + 2 * 0.04 + 2 * 0.36 + 0.01) / 6 = 1.45 / 6; recalibrated (0.64 + 4 * 0.04 + 0) / 6 = 0.8 / 6.
    ROC: an event and a non-event: 0.2 against 0.2, 0.2, 0.6, 0.6 wins 0.5 + 0.5, 0.9 wins all 4: 5 of 8 pairs.
    """
    table = tabulate(cases([0.2, 0.2, 0.2, 0.6, 0.6, 0.9]), cases([1, 0, 0, 0, 0, 1]))
    np.testing.assert_array_equal(table["cases"], [3, 2, 1])
    result = reliability(table, draws=50)
    np.testing.assert_allclose(result["recalibrated"], [0.2, 0.2, 1.0])
    assert result["brier"] == pytest.approx(1.45 / 6)
    assert result["miscalibration"] == pytest.approx(0.65 / 6)
    assert result["discrimination"] == pytest.approx(2 / 9 - 0.8 / 6)
    assert result["uncertainty"] == pytest.approx(2 / 9)
    assert result["roc_area"] == pytest.approx(5 / 8)


def test_weights_count_as_repeated_cases():
    probability, outcome = cases([0.1, 0.4, 0.4, 0.8]), cases([0, 1, 0, 1])
    weighted = tabulate(probability, outcome, weights=cases([1, 2, 3, 1]))
    repeated = tabulate(cases([0.1, *[0.4] * 5, 0.8]), cases([0, 1, 1, 0, 0, 0, 1]))
    for name in ("brier", "miscalibration", "discrimination", "roc_area"):
        assert reliability(weighted, draws=2)[name] == pytest.approx(reliability(repeated, draws=2)[name].item())


def test_tables_merge(calibrated):
    probability, outcome = calibrated
    parts = [tabulate(probability[part], outcome[part]) for part in (slice(0, 900), slice(900, None))]
    xr.testing.assert_identical(merge_tables(*parts), tabulate(probability, outcome))


def test_reliable_probabilities_stay_within_the_band_as_often_as_it_says():
    inside, miscalibration = [], []
    for seed in range(20):
        result = reliability(tabulate(*reliable_cases(1000, seed=seed)), draws=100, seed=seed)
        curve = result["recalibrated"]
        inside.append(((curve >= result["band_low"]) & (curve <= result["band_high"])).mean())
        miscalibration.append(result["miscalibration"])
    assert 0.86 < np.mean(inside) < 0.96
    assert np.mean(miscalibration) < 0.02


def test_the_decomposition_adds_up(calibrated):
    result = reliability(tabulate(*calibrated), draws=2)
    total = result["miscalibration"] - result["discrimination"] + result["uncertainty"]
    assert result["brier"] == pytest.approx(total.item())


def test_overconfident_probabilities_leave_the_band(calibrated):
    probability, outcome = calibrated
    result = reliability(tabulate((probability * 1.6).clip(0, 1), outcome), draws=200)
    assert (result["recalibrated"] < result["band_low"]).mean() > 0.3
    assert result["miscalibration"] > 0.02


def test_fewer_independent_cases_widen_the_band(calibrated):
    table = tabulate(*calibrated)
    bands = [reliability(table, draws=100, independent=count) for count in (4000, 100)]
    widths = [(band["band_high"] - band["band_low"]).mean() for band in bands]
    assert widths[1] > 2 * widths[0]


def test_agrees_with_scores(calibrated):
    probability, outcome = calibrated
    table = tabulate(probability, outcome)
    assert roc_area(table) == pytest.approx(scores.probability.roc_auc(probability, outcome).item())
    assert reliability(table, draws=2)["brier"] == pytest.approx(
        scores.probability.brier_score(probability, outcome).item()
    )
    theirs = scores.probability.isotonic_fit(probability.values, outcome.values)
    np.testing.assert_allclose(table["probability"], theirs["fcst_sorted"])
    np.testing.assert_allclose(reliability(table, draws=2)["recalibrated"], theirs["regression_values"], atol=1e-9)


def test_value_by_hand():
    """Base rate 0.4, perfect forecasts are worth 1, a constant base rate nothing.

    Users of cost–loss 0.5 with hit rate 1/2 and no false alarm: clim 0.4, forecast 0.4 * 0.5 * 0.5 + 0.4 * 0.5 = 0.3,
    perfect 0.2: (0.4 - 0.3) / (0.4 - 0.2) = 0.5.
    """
    outcome = cases([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    ratios = np.array([0.2, 0.5, 0.8])
    np.testing.assert_allclose(relative_economic_value(tabulate(outcome, outcome), ratios), 1.0)
    constant = tabulate(xr.full_like(outcome, 0.4), outcome)
    np.testing.assert_allclose(relative_economic_value(constant, ratios), 0.0, atol=1e-12)
    half = tabulate(cases([0.9, 0.9, 0.1, 0.1, *[0.0] * 6]), outcome)
    value = relative_economic_value(half, ratios)
    assert value[1] == pytest.approx(0.5)
    np.testing.assert_array_equal(value["cost_loss"], ratios)


def test_roc_runs_from_always_to_never(calibrated):
    curve = roc(tabulate(*calibrated))
    assert (curve.isel(threshold=0).to_dataarray() == 1).all()
    assert (curve.isel(threshold=-1).to_dataarray() == 0).all()
    assert np.isnan(roc_area(tabulate(cases([0.1, 0.2]), cases([0, 0]))))


def test_missing_cases_are_left_out_and_counted():
    table = tabulate(cases([0.1, np.nan, 0.3, 0.5]), cases([0, 1, np.nan, 1]), weights=cases([1, 1, 1, 0]))
    assert table["cases"].sum() == 1
    assert table.attrs["missing"] == 3


@pytest.mark.parametrize(
    ("probability", "outcome", "message"),
    [
        ([20, 80], [0, 1], "not per cent"),
        ([0.2, 0.8], [0, 2], "other than 0 and 1"),
        ([np.nan, 0.8], [0, np.nan], "no case has a probability"),
    ],
)
def test_bad_input_is_named(probability, outcome, message):
    with pytest.raises(ValueError, match=message):
        tabulate(cases(probability), cases(outcome))
