"""A start from nothing: every family draws its own climate where no state is known, and heeds the season it is in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.config import (
    AutoregressiveConfig,
    ClimatologyConfig,
    DampedPersistenceConfig,
    DiffusionConfig,
    DirectRidgeConfig,
    LinearInverseConfig,
    PoolConfig,
    ResidualBlocksConfig,
)
from models.spinup import SPIN_UP, set_going
from tests.linear_gaussian import context, coupled_system, training_data

TIMID = {"steps": 1, "batch": 2, "history": 1, "modes": 30, "noise_modes": 30, "learning_rate": 1e-6}
CONFIGS = [
    ClimatologyConfig(block=20),
    DampedPersistenceConfig(),
    LinearInverseConfig(),
    DirectRidgeConfig(leads=4, lags=1),
    ResidualBlocksConfig(uncertain_response=False),
    PoolConfig(models=(LinearInverseConfig(), ResidualBlocksConfig(uncertain_response=False)), weights=(1, 1)),
    AutoregressiveConfig(**TIMID),
    DiffusionConfig(**TIMID, window=3, sampler_steps=4),
]
SYSTEM = coupled_system()
LEADS = 6


@pytest.fixture(scope="module")
def data():
    values = SYSTEM.simulate(2000, seed=1)
    return training_data(values - values.mean(dim=0))  # models are given anomalies about the record's own mean


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_a_start_from_nothing_is_a_draw_from_the_climate(config, data):
    """Mean zero and the stationary deviation, at the first lead as at the last.

    2000 correlated steps know the climate's deviation to about 3 %, and 400 members a mean to 0.05 deviations.
    """
    model = config.build(data, seed=0).model
    nothing = context(torch.zeros(0, *SYSTEM.shape), LEADS)
    drawn = model.sample(nothing, leads=LEADS, members=range(400), seed=3).flatten(2).double()
    deviation = climate().diagonal() ** 0.5
    assert np.abs(drawn.mean(dim=0).numpy() / deviation).mean() < 0.08
    for lead in (0, LEADS - 1):
        ratio = (drawn[:, lead].std(dim=0).numpy() / deviation).mean()
        assert ratio == pytest.approx(1.0, abs=0.07)


def climate() -> np.ndarray:
    """Stationary covariance: what noise of all past steps adds up to."""
    covariance = propagated = SYSTEM.covariance
    for _ in range(200):
        propagated = SYSTEM.propagator @ propagated @ SYSTEM.propagator.T
        covariance = covariance + propagated
    return covariance


def test_the_season_runs_backwards_from_the_leads():
    phase = 2 * torch.pi * torch.arange(100) / 12
    calendar = torch.stack([phase.sin(), phase.cos()], dim=1)
    given = context(torch.zeros(0, 1, 2, 2), 5)
    going = set_going(replace(given, calendar=calendar[80:85]), history=2)
    assert len(going.history) == 2
    assert not going.history.any()
    assert torch.allclose(going.calendar, calendar[80 - SPIN_UP - 2 : 85], atol=1e-3)


def test_one_lead_or_no_season_stand_still():
    given = context(torch.zeros(0, 1, 2, 2), 1)
    one = set_going(replace(given, calendar=torch.tensor([[0.6, 0.8]])), history=1)
    assert torch.allclose(one.calendar, torch.tensor([[0.6, 0.8]]))
    assert not set_going(given, history=1).calendar.any()


def test_the_forcing_before_the_start_is_that_of_the_first_lead():
    given = replace(context(torch.zeros(0, 1, 2, 2), 2), forcing=torch.tensor([[3.0], [4.0]]))
    assert set_going(given, history=1).forcing.flatten().tolist() == [3.0] * (SPIN_UP + 2) + [4.0]
