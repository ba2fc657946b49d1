"""Conditions matter: a model that is told another situation than the true one loses skill."""

import numpy as np
import pytest
import torch

from models.base import TrainingData
from models.config import (
    AutoregressiveConfig,
    DampedPersistenceConfig,
    DiffusionConfig,
    DirectRidgeConfig,
    LinearInverseConfig,
    ModelConfig,
    PoolConfig,
    ResidualBlocksConfig,
    VectorAutoregressiveConfig,
)
from tests.linear_gaussian import context, coupled_system, crps_of_normal_truth, training_data

TIMID = {"steps": 1, "batch": 2, "history": 1, "modes": 30, "noise_modes": 30, "learning_rate": 1e-6}
SYSTEM = coupled_system()
STARTS = 12
CONFIGS: list[ModelConfig] = [
    DampedPersistenceConfig(),
    LinearInverseConfig(),
    VectorAutoregressiveConfig(),
    DirectRidgeConfig(leads=2, lags=1),
    ResidualBlocksConfig(uncertain_response=False),
    PoolConfig(models=(LinearInverseConfig(), DampedPersistenceConfig()), weights=(1, 1)),
    AutoregressiveConfig(**TIMID),
    DiffusionConfig(**TIMID, window=2, sampler_steps=4),
]


def scores(model, states: torch.Tensor, told: torch.Tensor) -> np.ndarray:
    """CRPS over the law that follows each state, of members drawn from what the model is told instead."""
    found = []
    for state, given in zip(states, told, strict=True):
        mean, covariance = SYSTEM.law(state.double().numpy().reshape(-1), 2)
        deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        history = given[None].expand(max(1, model.history), *given.shape)
        drawn = model.sample(context(history, 2), leads=2, members=range(40), seed=3)
        found.append(crps_of_normal_truth(drawn.double().flatten(2).numpy(), mean, deviation).mean())
    return np.array(found)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return training_data(SYSTEM.simulate(1000, seed=1))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_a_scrambled_state_loses_skill(config, data):
    """The climate's spread is about twice that of one step: another start's state costs much of the skill."""
    model = config.build(data, seed=0).model
    states = SYSTEM.simulate(20 * STARTS, seed=9)[::20]
    own, scrambled = (scores(model, states, told) for told in (states, states.roll(1, dims=0)))
    assert own.mean() < 0.8 * scrambled.mean()
