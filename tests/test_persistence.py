import math

import numpy as np
import pytest
import torch

from models.config import DampedPersistenceConfig
from models.damping import Pairs, seasonal_damping, seasonal_terms, shrink_damping
from tests import linear_gaussian as systems


def test_law_of_a_damped_system_is_recovered():
    system = systems.damped_system()
    values = system.simulate(4000, seed=2)
    fitted = DampedPersistenceConfig().build(systems.training_data(values), seed=0)
    systems.assert_law_is_recovered(fitted.model, system, start=values[-1], leads=4)
    np.testing.assert_allclose(fitted.model.damping[0], np.diagonal(system.propagator), atol=0.05)


def test_damping_that_follows_the_season_is_found():
    phase = 2 * math.pi * torch.arange(12 * 200) / 12
    damping = 0.5 + 0.4 * phase.sin()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(len(phase), 1, 2, 2, generator=generator)
    values = torch.zeros_like(noise)
    for step in range(1, len(phase)):
        values[step] = damping[step] * values[step - 1] + noise[step]
    fitted = DampedPersistenceConfig().build(systems.training_data(values, steps_per_year=12), seed=0)
    assert fitted.notes["seasonal"]
    calendar = torch.stack([phase[:12].sin(), phase[:12].cos()], dim=1).double()
    found = seasonal_damping(fitted.model.damping, calendar).mean(dim=1)
    np.testing.assert_allclose(found, damping[:12], atol=0.06)


def test_damping_of_a_few_pairs_by_hand():
    before = torch.tensor([[1.0, 2.0, 0.0], [2.0, -1.0, 0.0]], dtype=torch.float64)
    after = torch.tensor([[0.5, 1.0, 0.0], [1.0, 0.5, 0.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64)
    terms = torch.ones(2, 1, dtype=torch.float64)
    pairs = Pairs.of(before, after, terms)
    cells = pairs.damping()
    np.testing.assert_allclose(cells, [[0.5, 0.3, 0.0]], atol=1e-8)  # (0.5 + 2) / 5 and (2 - 0.5) / 5
    np.testing.assert_allclose(pairs.error(cells)[:2], [0.0, 0.8], atol=1e-8)  # (1 - 0.6)² + (0.5 + 0.3)²
    drawn_in = shrink_damping(cells, weights, channels=1, shrinkage=1.0)
    np.testing.assert_allclose(drawn_in, [[0.35, 0.35, 0.0]], atol=1e-8)  # (1 · 0.5 + 3 · 0.3) / 4


def test_damping_never_reaches_one():
    assert (
        seasonal_damping(torch.full((1, 3), 1.4, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)).max() < 1
    )


def test_terms_of_a_calendar_without_seasons_are_constant():
    calendar = torch.zeros(3, 2)
    assert torch.equal(seasonal_terms(calendar, 1), torch.ones(3, 1))


def test_a_thousand_steps_keep_the_climate():
    system = systems.damped_system()
    values = system.simulate(1500, seed=3)
    model = DampedPersistenceConfig().build(systems.training_data(values), seed=0).model
    drawn = model.sample(systems.context(10 * values[-1:], 1000), leads=1000, members=range(5), seed=1)
    assert float(drawn[:, 100:].std(dim=(0, 1)).mean()) == pytest.approx(float(values.std(dim=0).mean()), rel=0.08)
