"""Conditions matter: a model that is told another situation than the true one loses skill."""

import math

import numpy as np
import pytest
import torch

from models.base import Context, Series, TrainingData
from models.config import (
    AutoregressiveConfig,
    DampedPersistenceConfig,
    DiffusionConfig,
    DirectRidgeConfig,
    LinearInverseConfig,
    ModelConfig,
    NetworkConfig,
    PoolConfig,
    ResidualBlocksConfig,
    VectorAutoregressiveConfig,
)
from tests.linear_gaussian import context, coupled_system, crps_of_normal_truth, grid, training_data

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


FLIPPING = (1, 3, 5)
MEMORY, NOISE = 0.85, 0.5
STEPS_PER_YEAR, STEPS_PER_ERA = 12, 40
FEW = {"batch": 16, "history": 1, "modes": 10, "noise_modes": 15, "dropout": 0.0}
TOLD: list[NetworkConfig] = [
    AutoregressiveConfig(**FEW, steps=130, learning_rate=4e-3),
    DiffusionConfig(**FEW, steps=170, learning_rate=3e-3, window=1, sampler_steps=5),
]


def flipping_record(steps: int, *, by: str, seed: int) -> tuple[Series, torch.Tensor]:
    """States whose memory changes its sign with the season or with the forcing, and that memory, ``(steps,)``."""
    step = torch.arange(steps)
    there = step % STEPS_PER_YEAR < 6 if by == "calendar" else step // STEPS_PER_ERA % 2 == 0
    sign = torch.where(there, 1.0, -1.0)
    values = NOISE * torch.randn(steps, *FLIPPING, generator=torch.Generator().manual_seed(seed))
    for now in range(1, steps):
        values[now] += MEMORY * sign[now] * values[now - 1]
    phase = 2 * math.pi * (step % STEPS_PER_YEAR - 2.5) / STEPS_PER_YEAR
    calendar = torch.stack([phase.cos(), phase.sin()], dim=1) if by == "calendar" else torch.zeros(steps, 2)
    forcing = sign[:, None] if by == "forcing" else torch.zeros(steps, 0)
    everything = torch.ones(steps, dtype=torch.bool)
    return Series(values, calendar, forcing, everything, ~everything), MEMORY * sign


def score_told(model, record: Series, memory: torch.Tensor, *, sign: int) -> float:
    """CRPS at the first lead of members told the season and forcing of the record, or their opposite."""
    found = []
    for now in range(5, len(memory), 23):
        past, window = slice(now - model.history, now), slice(now - model.history, now + 1)
        told = Context(record.values[past], sign * record.calendar[window], sign * record.forcing[window], 86_400 * now)
        drawn = model.sample(told, leads=1, members=range(30), seed=1)[:, 0].double().numpy()
        mean = (memory[now] * record.values[now - 1]).double().numpy()
        found.append(crps_of_normal_truth(drawn, mean, np.full(FLIPPING, NOISE)).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("by", ["calendar", "forcing"])
@pytest.mark.parametrize("config", TOLD, ids=lambda config: config.kind)
def test_the_wrong_season_or_forcing_loses_skill(config, by):
    """The memory is one that no linear expectation can have: the network learns it from the condition alone."""
    record, _ = flipping_record(2000, by=by, seed=1)
    model = config.build(TrainingData((record,), grid(FLIPPING)), seed=0).model
    unseen = flipping_record(600, by=by, seed=2)
    right, wrong = (score_told(model, *unseen, sign=sign) for sign in (1, -1))
    assert right < 1.2 * NOISE / math.sqrt(math.pi)
    assert wrong > 2 * right
