"""A first-order autoregression, whose predictive law is known: every score must come out at its theoretical value.

``x[t + n] given x[t]`` is normal with mean ``φⁿ x[t]`` and variance ``1 - φ²ⁿ``; the climate is standard normal.
"""

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.stats import norm

from pipeline.judging import scores
from pipeline.judging.card_rows import Bootstrap
from pipeline.judging.categories import TERCILES, rps_ensemble
from pipeline.judging.multivariate import energy_score
from pipeline.judging.reliability import reliability, tabulate
from pipeline.judging.scorecard import scorecard
from pipeline.judging.verification import finish, pool, score_ensemble

MEMORY, LEADS, MEMBERS, STARTS, CELLS = 0.8, 3, 20, 600, 6


@pytest.fixture(scope="module")
def system():
    rng = np.random.default_rng(11)
    truth = rng.normal(size=(STARTS + LEADS, 1, CELLS)).astype("float32")
    for step in range(1, len(truth)):
        truth[step] = MEMORY * truth[step - 1] + np.sqrt(1 - MEMORY**2) * truth[step]
    times = np.datetime64("1900-01-01", "D") + np.arange(STARTS + LEADS)
    space = {"latitude": [0.0], "longitude": np.arange(CELLS) * 60.0}
    observation = xr.DataArray(truth, dims=("time", *space), coords={"time": times.astype("datetime64[ns]"), **space})
    steps = np.arange(STARTS)[:, None] + 1 + np.arange(LEADS)
    coords = {
        "init_time": times[:STARTS].astype("datetime64[ns]"),
        "lead_time": ("lead_time", np.arange(1, LEADS + 1), {"units": "days"}),
        "valid_time": (("init_time", "lead_time"), times[steps].astype("datetime64[ns]")),
        **space,
    }
    powers = MEMORY ** np.arange(1, LEADS + 1).reshape(1, -1, 1, 1, 1)
    noise = rng.normal(size=(2, STARTS, LEADS, MEMBERS, 1, CELLS)).astype("float32")
    perfect = powers * truth[:STARTS, None, None] + np.sqrt(1 - powers**2) * noise[0]
    dims = ("init_time", "lead_time", "member", *space)
    forecasts = [xr.DataArray(values, dims=dims, coords=coords, name="x") for values in (perfect, noise[1])]
    return *forecasts, observation


def deviation(lead):
    return np.sqrt(1 - MEMORY ** (2 * lead))


@pytest.fixture(scope="module")
def statistics(system):
    *forecasts, observation = system
    weights = xr.ones_like(observation.isel(time=0, drop=True))
    scored = [score_ensemble(f, observation, weights=weights, climatology=observation * 0) for f in forecasts]
    return dict(zip(("perfect", "climatology"), scored, strict=True))


def test_skill_and_spread_lie_in_their_own_intervals(statistics):
    card = scorecard(statistics, reference="climatology", bootstrap=Bootstrap(confidence=0.99))
    for lead, row in enumerate(card["models"]["perfect"]["x"], start=1):
        skill = 1 - deviation(lead)  # the CRPS of N(m, σ²) for a truth from it is σ/√π
        assert row["crps_fair_skill_low"] < skill < row["crps_fair_skill_high"]
        assert row["crps_skill_low"] < skill < row["crps_skill_high"]  # both are raised by the same 1 + 1/M
        assert row["spread_skill_low"] < 1 < row["spread_skill_high"]
        assert row["crps_fair_skill_high"] - row["crps_fair_skill_low"] < 0.15
        assert row["p_value"] < 1e-6


def test_mean_scores(statistics):
    done = finish(pool(statistics["perfect"], ("init_time",))).squeeze()
    sigma, power = (np.array([f(n) for n in range(1, LEADS + 1)]) for f in (deviation, lambda n: MEMORY**n))
    np.testing.assert_allclose(done["crps_fair"], sigma / np.sqrt(np.pi), rtol=0.04)
    np.testing.assert_allclose(done["crps"], sigma / np.sqrt(np.pi) * (1 + 1 / MEMBERS), rtol=0.04)
    np.testing.assert_allclose(done["rmse"], sigma * np.sqrt(1 + 1 / MEMBERS), rtol=0.04)
    np.testing.assert_allclose(done["spread"], sigma, rtol=0.02)
    correlation = power**2 / np.sqrt(power**2 + sigma**2 / MEMBERS)
    np.testing.assert_allclose(done["anomaly_correlation"], correlation, atol=0.04)
    np.testing.assert_allclose(done["rank_frequency"], 1 / (MEMBERS + 1), atol=0.02)


def paired(system, lead):
    perfect, _, observation = system
    forecast = perfect.isel(lead_time=lead - 1, drop=True).rename(init_time="time").drop_vars(["valid_time", "time"])
    return forecast, observation.isel(time=slice(lead, lead + STARTS)).drop_vars("time")


@pytest.mark.parametrize("lead", [1, 3])
def test_events_and_categories(system, lead):
    forecast, truth = paired(system, lead)
    sigma, power = deviation(lead), MEMORY**lead

    def expected_brier(threshold):
        def variance(start):
            chance = norm.sf((threshold - power * start) / sigma)
            return norm.pdf(start) * chance * (1 - chance)

        return quad(variance, -8, 8)[0]

    error = 4 / np.sqrt(STARTS * CELLS / 3)  # neighbouring starts are not independent
    brier = scores.brier_ensemble(forecast > 1, truth > 1).mean()
    assert brier == pytest.approx(expected_brier(1.0), abs=0.25 * error)
    edges = xr.DataArray(norm.ppf(TERCILES), dims="edge")
    rps = rps_ensemble(forecast, truth, edges=edges).mean()
    assert rps == pytest.approx(2 * expected_brier(norm.ppf(1 / 3)), abs=0.5 * error)
    level = 0.9
    pinball = scores.quantile_score(forecast, truth, level=level).mean()
    assert pinball == pytest.approx(sigma * norm.pdf(norm.ppf(level)), rel=0.1)  # of the exact quantile; M = 20
    upper = scores.threshold_weighted_crps(forecast, truth, lower=1.0).mean()
    assert upper == pytest.approx(quad(expected_brier, 1.0, 6.0)[0], rel=0.12)


def test_probabilities_are_reliable(system):
    forecast, truth = paired(system, 2)
    sigma, power = deviation(2), MEMORY**2
    start = system[2].isel(time=slice(0, STARTS)).drop_vars("time")
    exact = xr.DataArray(norm.sf((1 - power * start) / sigma), dims=start.dims)
    result = reliability(tabulate(exact, truth > 1), draws=100, independent=STARTS * CELLS / 3)
    curve = result["recalibrated"]
    inside = ((curve >= result["band_low"]) & (curve <= result["band_high"])).weighted(result["weight"]).mean()
    assert inside > 0.7
    assert result["base_rate"] == pytest.approx(norm.sf(1), abs=0.03)
    raw = reliability(tabulate((forecast > 1).mean("member"), truth > 1), draws=2)
    assert result["brier"] < raw["brier"]


def test_energy_score_of_independent_cells_is_below_the_wrong_law(system):
    forecast, truth = paired(system, 1)
    right = energy_score(forecast, truth, dims=["longitude"]).mean()
    blurred = energy_score(
        2 * (forecast - forecast.mean("member")) + forecast.mean("member"), truth, dims=["longitude"]
    )
    assert right < blurred.mean()
    # E|N(0, I)| in six dimensions: √2 Γ(7/2) / Γ(3); the score is σ (√2 - √2/2) times it
    norm_mean = np.sqrt(2) * 3.3233509704 / 2
    assert right == pytest.approx(deviation(1) * norm_mean * np.sqrt(2) / 2, rel=0.02)
